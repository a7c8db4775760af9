"""The one place where DuckDB is opened: without files of the reader, network, extensions or settings of a store.

A store may come from anyone, and DuckDB runs what a database contains: a view can read files, a macro can replace a
built-in function. So a connection reaches no file but its own, its configuration is locked, and built-in functions take
precedence over those of the file. `catalog` checks the tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from results.location import require_location

#: All connections of a process to one file must have the same settings.
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    # A misspelt table must not match a Python variable of that name.
    "python_enable_replacements": False,
}
_LOCKED = {"enable_external_access": False, "lock_configuration": True}
#: Name of an attached store in SQL.
STORE = "store"
#: DuckDB's own files beside a database.
_COMPANIONS = ("", ".wal", ".wal.recovery", ".wal.checkpoint")


def open_database(
    path: Path | None, *, read_only: bool = False, other_files: Sequence[Path] = (), memory: str | None = None
) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB file, or with None a database in memory.

    Args:
        path: the file; created if it is missing.
        read_only: open it for reading only.
        other_files: further files that the connection may read and write: an attached database, or the target of an
            export. The other connections of this process to `path` cannot have such files at the same time.
        memory: largest amount of memory, such as "1GB", for other files that are not trusted; default: DuckDB's.

    Raises:
        StoreError: the path cannot be that of a results store, see :func:`results.location.require_location`.
        duckdb.Error: DuckDB cannot open the file.
    """
    if path is not None:
        require_location(path)
    # Absolute: DuckDB reads the part of a name before a colon as the kind of database.
    name = ":memory:" if path is None else str(path.absolute())
    if not other_files:
        return duckdb.connect(name, read_only=read_only, config={**_SETTINGS, **_LOCKED})
    # DuckDB takes a list of files only while it runs, and before access to all others is switched off.
    opened = duckdb.connect(name, read_only=read_only, config=_SETTINGS)
    if memory is not None:
        opened.execute(f"SET memory_limit = '{memory}'")
    _lock(opened, other_files)
    return opened


def closed_database(path: Path) -> duckdb.DuckDBPyConnection:
    """Open a database in memory to which only the file `path` can be attached, see :mod:`results.store.attached`.

    Raises:
        StoreError: as :func:`open_database`.
    """
    require_location(path)
    opened = duckdb.connect(":memory:", config=_SETTINGS)
    # As if the file itself was opened; otherwise large queries would write to the working folder.
    opened.execute(f"SET temp_directory = {path_text(path, '.tmp')}")
    _lock(opened, [path])
    return opened


def _lock(opened: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> None:
    """Allow access to some files and to no others, and lock the configuration."""
    allowed = ", ".join(path_text(file, suffix) for file in files for suffix in _COMPANIONS)
    opened.execute(f"SET allowed_paths = [{allowed}]")
    for setting, value in _LOCKED.items():
        opened.execute(f"SET {setting} = {str(value).lower()}")


def path_text(path: Path, suffix: str = "") -> str:
    """Return the absolute path of a file as SQL text."""
    return "'" + f"{path.absolute()}{suffix}".replace("'", "''") + "'"


def database_name(connection: duckdb.DuckDBPyConnection) -> str:
    """Return the name of the attached store, or without one that of the database that was opened."""
    rows = connection.execute("SELECT database_name FROM system.main.duckdb_databases() WHERE NOT internal").fetchall()
    names = [str(name) for (name,) in rows]
    return STORE if STORE in names else names[0]


def prefer_builtins(connection: duckdb.DuckDBPyConnection, catalog: str | None = None) -> None:
    """Let functions, types and catalog views of DuckDB take precedence over those that the file defines.

    Tables can then be created with their full name only. The file is the database `catalog`; default: the only one.
    """
    path = f"system.main,{quoted(catalog or database_name(connection))}.main".replace("'", "''")
    connection.execute(f"SET search_path = '{path}'")


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
