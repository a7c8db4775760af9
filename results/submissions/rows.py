"""Rows of a store for a submission: plain Python values, with NULL and NaN apart, and times to the microsecond."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

import duckdb

from results.errors import StoreError
from results.store import schema
from results.store.json_columns import SHAPES, unfit


def rows_of(
    opened: duckdb.DuckDBPyConnection, table: str, where: str, params: Sequence[Any], order: str
) -> list[dict[str, Any]]:
    """Return rows of a table: times as microseconds since 1970, JSON decoded.

    Args:
        opened: a store that is open for reading.
        where: condition of the rows in SQL, with a `?` for each of `params`.
        order: columns by which they are sorted, in SQL.

    Raises:
        StoreError: a JSON column has content of another form than this program writes.
    """
    columns = schema.current_columns()[table]
    expressions = [
        f'epoch_us("{name}")' if kind.startswith("TIMESTAMP") else f'"{name}"' for name, kind in columns.items()
    ]
    opened.execute(f"SELECT {', '.join(expressions)} FROM {table} WHERE {where} ORDER BY {order}", list(params))
    return [
        {name: _decoded(table, name, value) for name, value in zip(columns, values, strict=True)}
        for values in opened.fetchall()
    ]


def _decoded(table: str, name: str, value: Any) -> Any:
    if name not in SHAPES or value is None:
        return value
    if not unfit(name, value):
        # Not decoded to its shape, in which NaN would be missing.
        with contextlib.suppress(ValueError):
            return json.loads(value)
    raise StoreError(f"The store has JSON of another form in {table}.{name}; `harness verify` says where.")
