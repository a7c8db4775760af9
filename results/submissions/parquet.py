"""Tables of a submission as Parquet files, written from a store and read without trust.

A Parquet file of some kilobytes can state billions of rows, and DuckDB would unpack them all. So the file's own
description is checked before anything is unpacked (columns, rows, unpacked size), memory is limited, and DuckDB sees a
copy of the file, whose name is ours: it reaches no other file.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import duckdb
import pandas as pd

from results.errors import StoreError
from results.store import frames, schema
from results.store.database import open_database


class ParquetTable(NamedTuple):
    """Table of a store that is submitted as Parquet."""

    fixed: str | None
    """column that all rows share, which the file lacks"""
    order: str
    """columns that the rows are sorted by"""
    max_rows: int


#: The tables of a cell, then those of a tournament.
TABLES: Mapping[str, ParquetTable] = {
    "units": ParquetTable("cell_id", "unit", 1_000_000),
    "unit_maps": ParquetTable("cell_id", "unit", 100_000),
    "outcomes": ParquetTable("cell_id", "metric", 100),
    "comparisons": ParquetTable("tournament", 'pair_id, "order"', 1_000_000),
    "replies": ParquetTable(None, "judge, prompt_version, grid_a, grid_b, attempt", 2_000_000),
}
CELL_PARQUET = ("units", "unit_maps", "outcomes")
TOURNAMENT_PARQUET = ("comparisons", "replies")
#: Largest size of a file's content in memory, and the memory that DuckDB may use for it.
MAX_UNPACKED, MEMORY = 500_000_000, "2GB"
#: Largest number of values of a column per row: `top_image` has some twenty, `peaks` 24.
MAX_PER_ROW = 100
#: Largest number of row groups.
_MAX_GROUPS = 2_000


def columns_of(table: str) -> dict[str, str]:
    """Return column -> SQL type of a table's Parquet file."""
    return {name: kind for name, kind in schema.current_columns()[table].items() if name != TABLES[table].fixed}


def digest_of(content: bytes) -> str:
    """Return the hash of a file's bytes by which its document names it."""
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def writing_tables() -> Iterator[TableWriter]:
    """Yield a writer of Parquet files, which needs no file of the caller's."""
    with _incoming() as file, contextlib.closing(open_database(None, other_files=[file])) as opened:
        opened.execute(schema.schema_sql())
        yield TableWriter(opened, file)


class TableWriter(NamedTuple):
    """Empty store in memory, and the path of the file that is written."""

    opened: duckdb.DuckDBPyConnection
    file: Path

    def content(self, table: str, frame: pd.DataFrame) -> bytes:
        """Return rows as a Parquet file: the same rows give the same bytes in one version of DuckDB.

        Args:
            frame: columns of the table without the fixed one, in any order of rows.
        """
        fixed, order, _ = TABLES[table]
        names = ", ".join(f'"{name}"' for name in columns_of(table))
        rows = f"SELECT {names} FROM {table} ORDER BY {order}"
        self.opened.execute(f"DELETE FROM {table}")
        frames.insert(self.opened, table, frame, {fixed: ""} if fixed else {})
        # Directly: a temporary file beside it may not be written.
        self.file.unlink(missing_ok=True)
        self.opened.execute(
            f"COPY ({rows}) TO '{_sql(self.file)}' (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)"
        )
        return self.file.read_bytes()


def same_rows(table: str, first: bytes, second: bytes) -> bool:
    """Return whether two Parquet files have the same rows; a file that cannot be read is different from all others."""
    if first == second:
        return True
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(_incoming()) for _ in range(2)]
        opened = stack.enter_context(contextlib.closing(open_database(None, other_files=files, memory=MEMORY)))
        try:
            for file, content in zip(files, (first, second), strict=True):
                file.write_bytes(content)
                _require_bounded(opened, table, file)
            left, right = (f"SELECT * FROM read_parquet('{_sql(file)}')" for file in files)
            differing = opened.execute(
                f"SELECT count(*) FROM (({left} EXCEPT ALL {right}) UNION ALL ({right} EXCEPT ALL {left}))"
            ).fetchall()
        except (StoreError, duckdb.Error):
            return False
        return differing == [(0,)]


@contextlib.contextmanager
def inserting(store: Path) -> Iterator[ParquetInserter]:
    """Open a new store for writing, together with the one Parquet file that is read into it at a time."""
    with _incoming() as file, contextlib.closing(open_database(store, other_files=[file], memory=MEMORY)) as opened:
        yield ParquetInserter(opened, file)


class ParquetInserter(NamedTuple):
    """Open store, and the path of the file that is read."""

    opened: duckdb.DuckDBPyConnection
    file: Path

    def insert(self, table: str, content: bytes, fixed: Mapping[str, str]) -> int:
        """Insert the rows of a Parquet file into a table, and return their number.

        Args:
            fixed: the fixed column -> its value.

        Raises:
            StoreError: the file is damaged, too large, or of another table; nothing is inserted. The message is the end
                of a sentence that starts with the file.
        """
        self.file.write_bytes(content)
        names = ", ".join(f'"{name}"' for name in (*fixed, *columns_of(table)))
        selected = ", ".join([*("?" for _ in fixed), *(f'"{name}"' for name in columns_of(table))])
        conflict = "" if TABLES[table].fixed else "OR IGNORE "
        try:
            rows = _require_bounded(self.opened, table, self.file)
            self.opened.execute(
                f"INSERT {conflict}INTO {table} ({names}) SELECT {selected} FROM read_parquet('{_sql(self.file)}')",
                list(fixed.values()),
            )
        except duckdb.Error as error:
            reason = str(error).strip().splitlines()[0].replace(str(self.file), "it")
            raise StoreError(f"cannot be read as Parquet ({reason[:160]})") from error
        return rows


@contextlib.contextmanager
def _incoming() -> Iterator[Path]:
    """Yield the path of a file in a new folder, which is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        yield Path(folder) / "table.parquet"


def _sql(file: Path) -> str:
    return str(file).replace("'", "''")


def _require_bounded(opened: duckdb.DuckDBPyConnection, table: str, file: Path) -> int:
    """Return the number of rows that a Parquet file states, after checking its description."""
    path = _sql(file)
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
    if not 0 <= size <= MAX_UNPACKED:
        raise StoreError(f"would take {size} bytes of memory, and at most {MAX_UNPACKED} are read")
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
