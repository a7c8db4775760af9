"""The one place where DuckDB is opened: no extension is downloaded or loaded, no Python variable is read as a table."""

from __future__ import annotations

from pathlib import Path

import duckdb

from results.location import require_location

#: All connections of a process to one file must have the same settings.
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


def open_database(path: Path | None, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB file, or with None a database in memory.

    Raises:
        StoreError: the path cannot be that of a results store, see :func:`results.location.require_location`.
        duckdb.Error: DuckDB cannot open the file.
    """
    if path is not None:
        require_location(path)
    # Absolute: DuckDB reads the part of a name before a colon as the kind of database.
    name = ":memory:" if path is None else str(path.absolute())
    opened = duckdb.connect(name, read_only=read_only, config=_SETTINGS)
    # A misspelt table must not match a Python variable of that name.
    opened.execute("SET python_enable_replacements = false")
    return opened
