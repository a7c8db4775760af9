"""Path of a results store: checked before DuckDB sees it, because DuckDB guesses what a path means.

From a prefix (``mysql:``, ``md:``, ``s3://``) or the first bytes of a file (SQLite) DuckDB concludes that an extension
is needed, and downloads it. A store is a DuckDB file on a disk of this machine, so everything else is refused here.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from results.errors import StoreError

#: Prefixes of other kinds of databases, and of files elsewhere. ``Path`` shortens ``s3://`` to ``s3:/``.
_SERVICES = (
    *("airport", "abfs", "abfss", "az", "azure", "bigquery", "delta", "duckdb", "ducklake", "file", "ftp", "gcs", "gs"),
    *("hf", "http", "https", "iceberg", "jdbc", "md", "motherduck", "mssql", "mysql", "odbc", "postgres", "postgresql"),
    *("quack", "r2", "s3", "s3a", "s3n", "snowflake", "sqlite", "sqlite3", "sqlserver", "uc_catalog", "unity"),
)
_ADDRESS = re.compile(r"^([A-Za-z][A-Za-z0-9_+.-]+):(/?)")

#: Suffixes of other formats. A new store with such a name would be taken for a file of that format.
_OTHER_FORMATS = {
    **dict.fromkeys((".sqlite", ".sqlite3", ".db3"), "a SQLite database"),
    **dict.fromkeys(
        (".parquet", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".arrow", ".feather", ".xlsx"), "a table"
    ),
    **dict.fromkeys((".safetensors", ".pth", ".pt", ".npy", ".npz"), "tensors"),
    **dict.fromkeys((".toml", ".py", ".md", ".txt", ".html", ".yaml", ".yml"), "a text"),
    ".wal": "the log of a DuckDB file",
}

#: First bytes of files that people have beside their results.
_MAGIC = {
    b"SQLite format 3\0": "a SQLite database",
    b"PAR1": "a Parquet file",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip file",
    b"\x89HDF": "an HDF5 file",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself (run git lfs pull)",
}
#: DuckDB writes this after the checksum of the header.
_DUCKDB, _DUCKDB_AT = b"DUCK", 8

#: Suffixes of files that DuckDB reads and writes beside a database.
_LOGS = (".wal", ".wal.recovery", ".wal.checkpoint")

_REMEDY = "point --store or HARNESS_STORE at a .duckdb file"


def require_location(path: str | os.PathLike[str], *, reads: bool = True) -> None:
    """Check that a path can be that of a results store: a DuckDB file, or one that does not exist yet.

    Nothing is created, and at most the first bytes of a file are read.

    Args:
        path: the path.
        reads: also read the first bytes. Not allowed for a file that a thread of this process may have open: a process
            that closes a file loses all locks that it holds on it, those of DuckDB's open connections too.

    Raises:
        StoreError: the path is an address of another kind of database or of another machine, a folder, a device, a link
            to nothing, a file of another format, a new file whose suffix is that of another format, or a store beside
            which a link, a pipe or a folder has the name of a file that DuckDB reads.
    """
    require_file_name(path)
    file = Path(path).expanduser()
    try:
        status = file.stat()
    except FileNotFoundError as error:
        if file.is_symlink():
            raise StoreError(f"{file} is a link to a file that does not exist; remove it, or {_REMEDY}.") from error
        _refuse_suffixes(file)
        return
    except NotADirectoryError as error:
        raise StoreError(
            f"The folder {file.parent} for the results store cannot be made ({error.strerror}); "
            "point --store or HARNESS_STORE at a place that can be written."
        ) from error
    except OSError as error:
        # For example a name that is too long.
        raise StoreError(f"{file} cannot be a results store ({error.strerror}); {_REMEDY}.") from error
    if stat.S_ISDIR(status.st_mode):
        raise StoreError(f"{file} is a folder, not a results store; name a file in it, such as {file}/results.duckdb.")
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{file} is not a regular file, and so not a results store; {_REMEDY}.")
    if reads or status.st_size == 0:
        _refuse_content(file)
    _refuse_companions(file)


def require_file_name(path: str | os.PathLike[str]) -> None:
    """Check that a path names a file, and not a database in memory, of another kind, or of another machine.

    Raises:
        StoreError: if it does not.
    """
    text = os.fspath(path)
    if not text or text.startswith(":memory:"):
        raise StoreError(f"The results store {text!r} would be lost at the end; {_REMEDY}.")
    address = _ADDRESS.match(text)
    if address and (address[2] or address[1].lower() in _SERVICES):
        raise StoreError(
            f"{text} is an address ({address[1]}:), and a results store is a file on this machine; {_REMEDY}."
        )


def _refuse_suffixes(file: Path) -> None:
    other = _OTHER_FORMATS.get(file.suffix.lower())
    if other is not None:
        raise StoreError(
            f"{file} does not exist, and its suffix is that of {other}, which a results store is not; {_REMEDY}."
        )


def _refuse_content(file: Path) -> None:
    try:
        with file.open("rb") as opened:
            start = opened.read(64)
    except PermissionError as error:
        raise StoreError(f"The results store {file} may not be read by this user; change its permissions.") from error
    if start[_DUCKDB_AT : _DUCKDB_AT + len(_DUCKDB)] == _DUCKDB:
        return
    kind = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)
    seen = f", but {kind}" if kind else "" if start else ", it is empty"
    raise StoreError(
        f"{file} is not a results store (not a DuckDB file{seen}); point --store or HARNESS_STORE at another file."
    )


def _refuse_companions(file: Path) -> None:
    """Refuse anything but plain files under the names of DuckDB's own files: it would wait for a pipe for ever."""
    for suffix in _LOGS:
        companion = file.with_name(file.name + suffix)
        try:
            mode = companion.lstat().st_mode
        except OSError:
            continue
        if not stat.S_ISREG(mode):
            raise StoreError(
                f"{companion} lies beside the results store {file} and is not a regular file, but DuckDB keeps its "
                f"log under that name; remove it, or {_REMEDY}."
            )
