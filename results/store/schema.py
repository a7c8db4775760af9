"""Schema of a store: creating it, migrating an older one, reading an older one unchanged."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import duckdb

from results.atomic import partial_file
from results.errors import StoreError
from results.store.catalog import not_a_store, require_few_units, require_tables
from results.store.database import STORE, database_name, open_database, quoted
from results.store.file_state import FileState
from results.store.records import grouped
from results.store.text_limits import MAX_TEXT, cut_sql, longest_text

SCHEMA_VERSION = 7

# MIGRATIONS[v] are the statements that take a store from version v to v + 1. They only ADD tables and columns
# (`reader_views` relies on it), and once released they never change.
MIGRATIONS: Mapping[int, str] = {
    version: Path(__file__).with_name(f"migration_{version}.sql").read_text(encoding="utf-8")
    for version in range(1, SCHEMA_VERSION)
}


def schema_sql() -> str:
    """Return the statements that create an empty store of SCHEMA_VERSION."""
    return Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")


def stored_version(connection: duckdb.DuckDBPyConnection, path: Path, catalog: str | None = None) -> int:
    """Return the schema version of an open store, whose tables are those of that version.

    Args:
        connection: an open connection.
        path: named in errors.
        catalog: the database of the connection; default: the only one.

    Raises:
        StoreError: the file is some other DuckDB database, its tables differ from those of its version, or it is a
            store of a newer schema than this program supports.
    """
    catalog = catalog or database_name(connection)
    version = _version_row(connection, catalog, path)
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path} has schema version {version} and this program reads up to version {SCHEMA_VERSION}; "
            "upgrade this program, or use a store that it made."
        )
    if version < 1:
        raise not_a_store(path, f"its schema version is {version}, and the first one is 1")
    require_tables(connection, catalog, path, sql=schema_sql(), later=_added_since(version))
    return version


def _version_row(connection: duckdb.DuckDBPyConnection, catalog: str, path: Path) -> int:
    """Return the schema version that the table `meta` states; a view of that name is not evaluated."""
    tables = connection.execute(
        "SELECT database_name, schema_name, table_name FROM system.main.duckdb_tables()"
    ).fetchall()
    no_version = StoreError(
        f"{path} is a DuckDB database but not a results store (it has no schema version); "
        "point --store or HARNESS_STORE at another file."
    )
    if (catalog, "main", "meta") not in tables:
        raise no_version
    try:
        rows = connection.execute(f"SELECT schema_version FROM {quoted(catalog)}.main.meta LIMIT 2").fetchall()
    except duckdb.Error as error:
        raise no_version from error
    if len(rows) > 1:
        raise not_a_store(path, "its table meta has several rows, and a store has one")
    if not rows or rows[0][0] is None:
        raise no_version
    if type(rows[0][0]) is not int:
        raise not_a_store(path, "its schema version is not a whole number")
    return int(rows[0][0])


def _added_since(version: int) -> Mapping[str, frozenset[str]]:
    """Return table -> columns that the migrations from `version` to SCHEMA_VERSION add."""
    added: dict[str, frozenset[str]] = {}
    for step in range(version, SCHEMA_VERSION):
        for table in re.findall(r"CREATE TABLE (\w+)", MIGRATIONS[step]):
            added[table] = frozenset(current_columns()[table])
        for table, name in re.findall(r"ALTER TABLE (\w+) ADD COLUMN (\w+)", MIGRATIONS[step]):
            added[table] = added.get(table, frozenset()) | {name}
    return added


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


#: Path -> state in which this process left a store of SCHEMA_VERSION that it had checked; it writes rows only.
_written: dict[Path, FileState] = {}


def migrate(connection: duckdb.DuckDBPyConnection, path: Path, before: FileState) -> None:
    """Migrate an open, writable store to SCHEMA_VERSION in one transaction; do nothing if it is up to date.

    Args:
        connection: an open connection that excludes others.
        path: the store.
        before: its state before it was attached; one that :func:`note_written` kept needs no check.

    Raises:
        StoreError: as `stored_version`.
    """
    # The file may have been replaced by another one while it was opened.
    if _written.get(path) == before and FileState.of(path) == before:
        return
    version = stored_version(connection, path)
    if version == SCHEMA_VERSION:
        return
    with transaction(connection):
        for step in range(version, SCHEMA_VERSION):
            connection.execute(MIGRATIONS[step])
        connection.execute("UPDATE meta SET schema_version = ?, migrated_at = ?", [SCHEMA_VERSION, datetime.now(UTC)])
        # A type of the file can have the name of a built-in one, such as JSON.
        require_tables(connection, database_name(connection), path, sql=schema_sql(), later={})


def note_written(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Keep the state of a store after :func:`migrate` and a commit of rows, so that the next write need not check it.

    The log is written into the file first, and the state is read before the file is released: another process can only
    write afterwards, which changes the state.
    """
    try:
        connection.execute(f"CHECKPOINT {STORE}")
    except duckdb.Error:
        # A full disk, for example. The rows are in the log.
        _written.pop(path, None)
    else:
        _written[path] = FileState.of(path)


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


class Checked(NamedTuple):
    """What is known of a store in one state of its file."""

    state: FileState
    version: int
    long_tables: frozenset[str]
    """tables with texts that are cut by DuckDB, see `text_limits`"""


#: Path -> result of the last check. Listing the catalog of DuckDB takes half as long as opening the file.
_checked: dict[Path, Checked] = {}
#: Tables whose texts are not measured: too many rows, and few texts, of which a page or verb reads some.
_UNMEASURED = frozenset({"meta", "units", "unit_maps", "curves", "comparisons", "replies", "outcomes"})


def reader_views(connection: duckdb.DuckDBPyConnection, path: Path, before: FileState) -> None:
    """Check a store, and let a read-only connection read an older one as if it had today's columns, NULL where missing.

    Temporary views of the tables' own names hide the tables. This costs nothing and does not change the file, whereas
    migrating a copy would read a whole store for one query. Very long texts are cut by such views, too.

    Args:
        connection: an open, read-only connection.
        path: the store.
        before: its state before it was attached; the check is done once for each state.

    Raises:
        StoreError: as `stored_version`.
    """
    checked = _checked.get(path)
    if checked is None or checked.state != before or FileState.of(path) != before:
        version = stored_version(connection, path)
        require_few_units(connection, path)
        checked = Checked(before, version, _long_tables(connection) if version == SCHEMA_VERSION else frozenset())
        # The file may have been replaced by another one while it was opened.
        if FileState.of(path) == before:
            _checked[path] = checked
    if checked.version == SCHEMA_VERSION and not checked.long_tables:
        return
    catalog = database_name(connection)
    present = stored_columns(connection, catalog)
    for table, columns in current_columns().items():
        have = present.get(table, {})
        is_long = table in checked.long_tables or (checked.version != SCHEMA_VERSION and table not in _UNMEASURED)
        if columns.keys() <= have.keys() and not is_long:
            continue
        expressions = [
            f'CAST(NULL AS {kind}) AS "{name}"' if name not in have else cut_sql(name, kind) if is_long else f'"{name}"'
            for name, kind in columns.items()
        ]
        source = f'FROM {quoted(catalog)}.main."{table}"' if have else "WHERE false"
        connection.execute(f'CREATE TEMP VIEW "{table}" AS SELECT {", ".join(expressions)} {source}')


def _long_tables(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Return the tables with a text of more than `MAX_TEXT` bytes."""
    measured = {table: columns for table, columns in current_columns().items() if table not in _UNMEASURED}
    queries = [f"SELECT '{table}', ({longest_text(table, columns)})" for table, columns in measured.items()]
    lengths = connection.execute(" UNION ALL ".join(queries)).fetchall()
    return frozenset(table for table, length in lengths if length is not None and length > MAX_TEXT)


@functools.lru_cache(maxsize=1)
def current_columns() -> Mapping[str, Mapping[str, str]]:
    """Return table -> column -> SQL type of SCHEMA_VERSION, as defined by `schema.sql`."""
    with contextlib.closing(open_database(None)) as connection:
        connection.execute(schema_sql())
        return stored_columns(connection, database_name(connection))


def stored_columns(connection: duckdb.DuckDBPyConnection, catalog: str) -> dict[str, dict[str, str]]:
    """Return table -> column -> SQL type of an open or attached database."""
    rows = connection.execute(
        "SELECT table_name, column_name, data_type FROM system.main.duckdb_columns() "
        "WHERE database_name = ? AND schema_name = 'main' ORDER BY table_name, column_index",
        [catalog],
    ).fetchall()
    tables = grouped(rows, itemgetter(0))
    return {table: {column: kind for _, column, kind in columns} for table, columns in tables.items()}
