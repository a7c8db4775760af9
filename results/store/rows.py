"""Insertion and deletion of plain rows in an open store."""

from __future__ import annotations

from collections.abc import Iterable
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


def delete_rows(opened: duckdb.DuckDBPyConnection, tables: Iterable[str], column: str, ids: list[str]) -> None:
    """Delete the rows of `tables` whose `column` is one of `ids`."""
    for table in tables:
        opened.execute(f"DELETE FROM {table} WHERE {column} IN (SELECT unnest(?::VARCHAR[]))", [ids])
