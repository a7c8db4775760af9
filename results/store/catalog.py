"""Check that the tables of a database are those of a results store, before anything is read from them.

DuckDB evaluates what a database defines: a view in place of a table, a generated column, a trigger. A store made by
this program has none, so a file in which a table of the schema is anything but the table that `schema.sql` and the
migrations create is not a store. Tables of other names are harmless, since no query names them, and are left alone.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import duckdb

from results.errors import StoreError
from results.store.database import database_name, open_database, quoted
from results.store.records import grouped

#: Largest number of rows of a table that is read as a whole. A file of some kilobytes can hold billions of equal rows.
MAX_ROWS: Mapping[str, int] = {
    **dict.fromkeys(("runs", "cells", "tournaments", "win_rates", "group_scores"), 200_000),
    **dict.fromkeys(("scores", "outcomes", "images", "comparisons", "replies", "explanations"), 20_000_000),
    **dict.fromkeys(("labellings", "steerings"), 1_000_000),
    **dict.fromkeys(("units", "unit_maps", "curves", "unit_labels"), 2_000_000_000),
}
#: Largest number of units of a cell; the units of a cell are read as a whole.
MAX_UNITS = 2_000_000
_REMEDY = "point --store or HARNESS_STORE at a store that this program wrote"


class Column(NamedTuple):
    """Column of a table, as DuckDB describes it."""

    kind: str
    is_nullable: bool
    default: str | None
    """default value, or the expression of a generated column"""


class TableShape(NamedTuple):
    """Columns and constraints of a table."""

    columns: Mapping[str, Column]
    constraints: frozenset[str]


def not_a_store(path: Path, why: str) -> StoreError:
    """Return the error for a DuckDB database that is not a store of this program."""
    return StoreError(f"{path} is not a results store: {why}; {_REMEDY}.")


def require_tables(
    connection: duckdb.DuckDBPyConnection, catalog: str, path: Path, *, sql: str, later: Mapping[str, frozenset[str]]
) -> None:
    """Check that the tables of a database are the base tables that the statements `sql` create.

    Args:
        connection: an open connection.
        catalog: the database in it.
        path: named in the error.
        sql: statements that create the current schema.
        later: table -> columns that the version of the store does not have yet; all of them: the table is missing.

    Raises:
        StoreError: a table or a column is missing or additional, or differs in its type, constraints or default; a
            table of the schema has an index or a trigger; or it has more than `MAX_ROWS` rows.
    """
    expected_sql = _expected_sql(sql)
    tables = {
        name: (definition, rows)
        for database, schema, name, definition, rows in connection.execute(
            "SELECT database_name, schema_name, table_name, sql, estimated_size FROM system.main.duckdb_tables()"
        ).fetchall()
        if database == catalog and schema == "main" and name in expected_sql
    }
    # The text of a table contains its columns, constraints and defaults, so equal texts need no closer look.
    if later or any(name not in tables or tables[name][0] != definition for name, definition in expected_sql.items()):
        _require_shapes(connection, catalog, path, set(tables), _without(_expected_shapes(sql), later))
    for name, limit in MAX_ROWS.items():
        if name in tables and tables[name][1] > limit:
            raise not_a_store(path, f"its table {name} has {tables[name][1]} rows, and at most {limit} are read")
    _require_no_attachments(connection, catalog, path, set(expected_sql))


def require_few_units(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Check that no cell of a store has more than `MAX_UNITS` units, after :func:`require_tables`.

    Raises:
        StoreError: a cell has more; a file of some megabytes can hold a hundred million equal ones.
    """
    catalog = database_name(connection)
    sizes = connection.execute(
        "SELECT estimated_size FROM system.main.duckdb_tables() "
        "WHERE database_name = ? AND schema_name = 'main' AND table_name = 'units' AND estimated_size > ?",
        [catalog, MAX_UNITS],
    ).fetchall()
    if sizes:
        units = f"SELECT count(*) AS n FROM {quoted(catalog)}.main.units GROUP BY cell_id"
        [(largest,)] = connection.execute(f"SELECT max(n) FROM ({units})").fetchall()
        if largest > MAX_UNITS:
            raise not_a_store(path, f"a cell in it has {largest} units, and at most {MAX_UNITS} are read")


def _require_shapes(
    connection: duckdb.DuckDBPyConnection,
    catalog: str,
    path: Path,
    tables: set[str],
    expected: Mapping[str, TableShape],
) -> None:
    shapes = _shapes(connection, catalog)
    for table, expected_shape in expected.items():
        if table not in tables:
            is_view = table in shapes
            raise not_a_store(path, f"{table} is a view, not a table" if is_view else f"it has no table {table}")
        for difference in _differences(table, shapes[table], expected_shape):
            raise not_a_store(path, difference)
    for table in sorted(tables - set(expected)):
        raise not_a_store(path, f"it has a table {table}, which its schema version does not have")


def _differences(table: str, shape: TableShape, expected: TableShape) -> Iterator[str]:
    """Yield the differences in words, the most telling ones first."""
    common = {name: (shape.columns[name], column) for name, column in expected.columns.items() if name in shape.columns}
    for name in expected.columns:
        if name not in common:
            yield f"its table {table} has no column {name}"
    for name, (stored, column) in common.items():
        if stored.kind != column.kind:
            yield f"the column {table}.{name} has the type {_short(stored.kind)}, not {column.kind}"
    for name in shape.columns:
        if name not in common:
            yield f"its table {table} has an unknown column {_short(name)!r}"
    for name, (stored, column) in common.items():
        if stored.default is not None:
            yield f"the column {table}.{name} is computed or has a default ({_short(stored.default)})"
        if stored.is_nullable != column.is_nullable:
            yield f"the column {table}.{name} may {'' if stored.is_nullable else 'not '}be NULL"
    for constraint in sorted(expected.constraints - shape.constraints):
        yield f"its table {table} lacks the constraint {constraint}"
    for constraint in sorted(shape.constraints - expected.constraints):
        yield f"its table {table} has an unknown constraint {_short(constraint)}"


def _require_no_attachments(connection: duckdb.DuckDBPyConnection, catalog: str, path: Path, tables: set[str]) -> None:
    """Refuse indexes and triggers on tables of the schema: DuckDB would run them when a cell is written."""
    for function, column, kind in (("duckdb_indexes", "index_name", "index"), *_trigger_catalog()):
        for database, schema, table, name in connection.execute(
            f"SELECT database_name, schema_name, table_name, {column} FROM system.main.{function}()"
        ).fetchall():
            if database == catalog and schema == "main" and table in tables:
                raise not_a_store(path, f"its table {table} has the {kind} {_short(name)!r}")


@functools.lru_cache(maxsize=1)
def _trigger_catalog() -> tuple[tuple[str, str, str], ...]:
    """Return the catalog function of triggers, which DuckDB has since version 2."""
    with contextlib.closing(open_database(None)) as connection:
        try:
            connection.execute("SELECT trigger_name FROM system.main.duckdb_triggers()")
        except duckdb.CatalogException:
            return ()
    return (("duckdb_triggers", "trigger_name", "trigger"),)


@functools.lru_cache(maxsize=4)
def _expected_sql(sql: str) -> Mapping[str, str]:
    """Return table -> its definition in DuckDB's own words, of the tables that `sql` creates."""
    with contextlib.closing(open_database(None)) as connection:
        connection.execute(sql)
        return dict(connection.execute("SELECT table_name, sql FROM duckdb_tables()").fetchall())


@functools.lru_cache(maxsize=4)
def _expected_shapes(sql: str) -> Mapping[str, TableShape]:
    with contextlib.closing(open_database(None)) as connection:
        connection.execute(sql)
        return _shapes(connection, database_name(connection))


def _without(shapes: Mapping[str, TableShape], later: Mapping[str, frozenset[str]]) -> dict[str, TableShape]:
    """Return the shapes as they were before the columns `later` were added."""
    earlier = {
        table: shape._replace(
            columns={name: c for name, c in shape.columns.items() if name not in later.get(table, ())}
        )
        for table, shape in shapes.items()
    }
    return {table: shape for table, shape in earlier.items() if shape.columns}


def _shapes(connection: duckdb.DuckDBPyConnection, catalog: str) -> dict[str, TableShape]:
    """Return the shapes of tables and views in the schema `main` of a database."""
    columns = connection.execute(
        "SELECT table_name, column_name, data_type, is_nullable, column_default, database_name, schema_name "
        "FROM system.main.duckdb_columns()"
    ).fetchall()
    constraints = connection.execute(
        "SELECT table_name, constraint_type, constraint_text, database_name, schema_name "
        "FROM system.main.duckdb_constraints()"
    ).fetchall()
    # NOT NULL is compared by column.
    texts = grouped(
        (row for row in constraints if row[1] != "NOT NULL" and row[3:] == (catalog, "main")), lambda row: row[0]
    )
    tables = grouped((row for row in columns if row[5:] == (catalog, "main")), lambda row: row[0])
    return {
        table: TableShape(
            {name: Column(kind, bool(is_nullable), default) for _, name, kind, is_nullable, default, *_ in rows},
            frozenset(row[2] for row in texts.get(table, ())),
        )
        for table, rows in tables.items()
    }


def _short(text: str) -> str:
    """Return a text of the file for one line of an error."""
    plain = re.sub(r"[^\x20-\x7e]+", " ", text)
    return plain if len(plain) <= 60 else f"{plain[:60]}..."
