"""Insertion and deletion of plain rows in an open store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import duckdb


def insert_rows(opened: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    """Insert `rows`, which all have the same columns, in one statement."""
    if not rows:
        return
    columns = ", ".join(f'"{name}"' for name in rows[0])
    marks = ", ".join("(" + ", ".join("?" for _ in row) + ")" for row in rows)
    values = [value for row in rows for value in row.values()]
    opened.execute(f"INSERT INTO {table} ({columns}) VALUES {marks}", values)


def delete_rows(opened: duckdb.DuckDBPyConnection, tables: Iterable[str], column: str, ids: Sequence[str]) -> None:
    """Delete the rows of `tables` whose `column` is one of `ids`."""
    condition, values = one_of(column, ids)
    for table in tables:
        opened.execute(f"DELETE FROM {table} WHERE {condition}", values)


def one_of(column: str, ids: Sequence[str]) -> tuple[str, list[Any]]:
    """Return the condition that `column` is one of `ids`, and its parameters.

    DuckDB deletes by a comparison with one id in two thirds of the time that it needs for a list of one.
    """
    if len(ids) == 1:
        return f"{column} = ?::VARCHAR", [ids[0]]
    return f"{column} IN (SELECT unnest(?::VARCHAR[]))", [list(ids)]
