"""Parquet files of somebody else, read into a store without trust.

A Parquet file of some kilobytes can state billions of rows, and DuckDB would unpack them all. So the file's own
description is checked before anything is unpacked (columns, rows, unpacked size), and memory is limited. A damaged file
can end a DuckDB for good. So the file is read by a DuckDB of its own, which reaches a copy of it and nothing else, and
writes the rows to a file that the store then reads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb

from results.errors import StoreError
from results.store.database import open_database
from results.submissions.parquet import TABLES, columns_of, sql_path, temporary_file
from results.visible_text import one_line

#: Largest size of a file's content when it is unpacked, the part that does not depend on the number of rows, and the
#: memory that DuckDB may use for it.
MAX_UNPACKED, OVERHEAD, MEMORY = 500_000_000, 100_000, "2GB"
#: Largest number of values of a column per row: `top_image` has some twenty, `peaks` 24.
MAX_PER_ROW = 100
#: Largest number of row groups.
_MAX_GROUPS = 2_000
#: Errors of DuckDB on a damaged file; some are those of the libraries that it contains.
_DAMAGED = (duckdb.Error, RuntimeError, MemoryError)


@contextlib.contextmanager
def inserting(store: Path) -> Iterator[ParquetInserter]:
    """Open a new store for writing, together with a reader of Parquet files."""
    with contextlib.ExitStack() as stack:
        incoming, clean = (stack.enter_context(temporary_file()) for _ in range(2))
        opened = stack.enter_context(contextlib.closing(open_database(store, other_files=[clean])))
        inserter = ParquetInserter(opened, incoming, clean)
        stack.callback(inserter.close_reader)
        yield inserter


class ParquetInserter:
    """Open store, and the DuckDB that reads Parquet files for it."""

    def __init__(self, opened: duckdb.DuckDBPyConnection, incoming: Path, clean: Path) -> None:
        self.opened = opened
        self._incoming = incoming
        self._clean = clean
        self._reader: duckdb.DuckDBPyConnection | None = None

    def insert(self, table: str, content: bytes, fixed: Mapping[str, str]) -> int:
        """Insert the rows of a Parquet file into a table, and return their number.

        Args:
            fixed: the fixed column -> its value.

        Raises:
            StoreError: the file is damaged, too large, or of another table; nothing is inserted. The message is the end
                of a sentence that starts with the file.
        """
        rows = self._unpack(table, content)
        names = ", ".join(f'"{name}"' for name in (*fixed, *columns_of(table)))
        selected = ", ".join([*("?" for _ in fixed), *(f'"{name}"' for name in columns_of(table))])
        conflict = "" if TABLES[table].fixed else "OR IGNORE "
        source = f"read_parquet('{sql_path(self._clean)}')"
        try:
            self.opened.execute(
                f"INSERT {conflict}INTO {table} ({names}) SELECT {selected} FROM {source}", list(fixed.values())
            )
        except duckdb.ConstraintException as error:
            raise StoreError(f"has a row twice, or one without a key ({_reason(error, self._clean)})") from error
        return rows

    def _unpack(self, table: str, content: bytes) -> int:
        """Write the rows of a file to the clean one, and return their number."""
        self._incoming.write_bytes(content)
        self._clean.unlink(missing_ok=True)
        if self._reader is None:
            self._reader = open_database(None, other_files=[self._incoming, self._clean], memory=MEMORY)
        names = ", ".join(f'"{name}"' for name in columns_of(table))
        try:
            rows = _require_bounded(self._reader, table, self._incoming)
            self._reader.execute(
                f"COPY (SELECT {names} FROM read_parquet('{sql_path(self._incoming)}')) TO "
                f"'{sql_path(self._clean)}' (FORMAT parquet, USE_TMP_FILE false)"
            )
        except _DAMAGED as error:
            # It may not be usable any more.
            self.close_reader()
            raise StoreError(f"cannot be read as Parquet ({_reason(error, self._incoming)})") from error
        return rows

    def close_reader(self) -> None:
        """Close the DuckDB that reads Parquet files; the next file has another one."""
        if self._reader is not None:
            with contextlib.suppress(duckdb.Error):
                self._reader.close()
        self._reader = None


def _reason(error: BaseException, file: Path) -> str:
    """Return the first line of an error of DuckDB, without the path of the copy."""
    lines = str(error).strip().splitlines()
    return one_line(lines[0].replace(str(file), "it"))[:160] if lines else type(error).__name__


def same_rows(table: str, first: bytes, second: bytes) -> bool:
    """Return whether two Parquet files have the same rows; a file that cannot be read is different from all others."""
    if first == second:
        return True
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(temporary_file()) for _ in range(2)]
        opened = stack.enter_context(contextlib.closing(open_database(None, other_files=files, memory=MEMORY)))
        try:
            for file, content in zip(files, (first, second), strict=True):
                file.write_bytes(content)
                _require_bounded(opened, table, file)
            left, right = (f"SELECT * FROM read_parquet('{sql_path(file)}')" for file in files)
            differing = opened.execute(
                f"SELECT count(*) FROM (({left} EXCEPT ALL {right}) UNION ALL ({right} EXCEPT ALL {left}))"
            ).fetchall()
        except (StoreError, *_DAMAGED):
            return False
        return differing == [(0,)]


def _require_bounded(opened: duckdb.DuckDBPyConnection, table: str, file: Path) -> int:
    """Return the number of rows that a Parquet file states, after checking its description."""
    path = sql_path(file)
    ((rows, groups),) = opened.execute(
        f"SELECT num_rows, num_row_groups FROM parquet_file_metadata('{path}')"
    ).fetchall()
    limit = TABLES[table].max_rows
    if not 0 <= rows <= limit or not 0 <= groups <= _MAX_GROUPS:
        raise StoreError(
            f"has {rows} rows in {groups} groups, and at most {limit} rows in {_MAX_GROUPS} groups are read"
        )
    ((size, values),) = opened.execute(
        "SELECT coalesce(sum(total_uncompressed_size), 0), coalesce(max(num_values), 0) "
        f"FROM parquet_metadata('{path}')"
    ).fetchall()
    most = min(MAX_UNPACKED, OVERHEAD + TABLES[table].max_row_bytes * rows)
    if not 0 <= size <= most:
        raise StoreError(f"has {size} bytes when it is unpacked, and at most {most} are read for {rows} rows")
    if values > MAX_PER_ROW * max(rows, 1):
        raise StoreError(f"has {values} values in a column of {rows} rows, and at most {MAX_PER_ROW} per row are read")
    described = opened.execute(f"DESCRIBE SELECT * FROM read_parquet('{path}')").fetchall()
    present, expected = {str(row[0]): str(row[1]) for row in described}, columns_of(table)
    if present != expected:
        missing = [name for name in expected if name not in present]
        unknown = [name[:60] for name in present if name not in expected]
        other = [f"{name} is {present[name][:60]}" for name in present if present[name] != expected.get(name)]
        reason = f"lacks {missing[0]}" if missing else f"has an unknown column {unknown[0]!r}" if unknown else other[0]
        raise StoreError(f"does not have the columns of the table {table}: it {reason}")
    return int(rows)
