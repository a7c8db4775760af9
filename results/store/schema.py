"""Schema of a store: creating it, migrating an older one, reading an older one unchanged."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path

import duckdb

from results.atomic import partial_file
from results.errors import StoreError
from results.store.database import open_database
from results.store.records import grouped

SCHEMA_VERSION = 5

# MIGRATIONS[v] are the statements that take a store from version v to v + 1. They only ADD tables and columns
# (`reader_views` relies on it), and once released they never change.
MIGRATIONS: Mapping[int, str] = {
    version: Path(__file__).with_name(f"migration_{version}.sql").read_text(encoding="utf-8") for version in range(1, 5)
}


def schema_sql() -> str:
    """Return the statements that create an empty store of SCHEMA_VERSION."""
    return Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")


def stored_version(connection: duckdb.DuckDBPyConnection, path: Path) -> int:
    """Return the schema version of an open store.

    Raises:
        StoreError: the file is some other DuckDB database, or a store of a newer schema than this program supports.
    """
    try:
        row = connection.execute("SELECT max(schema_version) FROM meta").fetchone()
    except duckdb.CatalogException:
        row = None
    if row is None or row[0] is None:
        raise StoreError(
            f"{path} is a DuckDB database but not a results store (it has no schema version); "
            "point --store or HARNESS_STORE at another file."
        )
    version = int(row[0])
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path} has schema version {version} and this program reads up to version {SCHEMA_VERSION}; "
            "upgrade this program, or use a store that it made."
        )
    return version


def create(path: Path) -> None:
    """Create an empty store at `path` atomically; a store that another process created meanwhile is left unchanged.

    DuckDB writes a new file in several steps, and a process killed between them leaves a file that cannot be opened. So
    the file is created under a temporary name.
    """
    with (
        partial_file(path, overwrite=False) as partial,
        contextlib.closing(open_database(partial)) as connection,
        transaction(connection),
    ):
        connection.execute(schema_sql())
        connection.execute(
            "INSERT INTO meta (schema_version, created_at, duckdb_version) VALUES (?, ?, ?)",
            [SCHEMA_VERSION, datetime.now(UTC), duckdb.__version__],
        )


def migrate(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Migrate an open, writable store to SCHEMA_VERSION in one transaction; do nothing if it is up to date.

    Raises:
        StoreError: as `stored_version`.
    """
    version = stored_version(connection, path)
    if version == SCHEMA_VERSION:
        return
    with transaction(connection):
        for step in range(version, SCHEMA_VERSION):
            connection.execute(MIGRATIONS[step])
        connection.execute("UPDATE meta SET schema_version = ?, migrated_at = ?", [SCHEMA_VERSION, datetime.now(UTC)])


@contextlib.contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit all changes of the block, or none."""
    connection.execute("BEGIN")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def reader_views(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Let a read-only connection read an older store as if it had today's columns, with NULL in missing ones.

    Temporary views of the tables' own names hide the tables. This costs nothing and does not change the file, whereas
    migrating a copy would read a whole store for one query.

    Raises:
        StoreError: as `stored_version`.
    """
    if stored_version(connection, path) == SCHEMA_VERSION:
        return
    catalog = _catalog(connection)
    present = stored_columns(connection, catalog)
    for table, columns in current_columns().items():
        have = present.get(table, {})
        added = ", ".join(f'CAST(NULL AS {kind}) AS "{name}"' for name, kind in columns.items() if name not in have)
        if not have:
            connection.execute(f'CREATE TEMP VIEW "{table}" AS SELECT {added} WHERE false')
        elif added:
            source = f'"{catalog.replace(chr(34), chr(34) * 2)}".main."{table}"'
            connection.execute(f'CREATE TEMP VIEW "{table}" AS SELECT *, {added} FROM {source}')


@functools.lru_cache(maxsize=1)
def current_columns() -> Mapping[str, Mapping[str, str]]:
    """Return table -> column -> SQL type of SCHEMA_VERSION, as defined by `schema.sql`."""
    with contextlib.closing(open_database(None)) as connection:
        connection.execute(schema_sql())
        return stored_columns(connection, _catalog(connection))


def stored_columns(connection: duckdb.DuckDBPyConnection, catalog: str) -> dict[str, dict[str, str]]:
    """Return table -> column -> SQL type of an open or attached database."""
    rows = connection.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() "
        "WHERE database_name = ? AND schema_name = 'main' ORDER BY table_name, column_index",
        [catalog],
    ).fetchall()
    tables = grouped(rows, itemgetter(0))
    return {table: {column: kind for _, column, kind in columns} for table, columns in tables.items()}


def _catalog(connection: duckdb.DuckDBPyConnection) -> str:
    return str(connection.execute("SELECT current_database()").fetchall()[0][0])
