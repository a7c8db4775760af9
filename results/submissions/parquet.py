"""Tables of a submission as Parquet files: which there are, their bounds, and how they are written."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import duckdb
import pandas as pd

from results.store import frames, schema
from results.store.database import open_database


class ParquetTable(NamedTuple):
    """Table of a store that is submitted as Parquet."""

    fixed: str | None
    """column that all rows share, which the file lacks"""
    order: str
    """columns that the rows are sorted by"""
    max_rows: int
    max_row_bytes: int
    """largest mean size of a row when it is unpacked"""


#: The tables of a cell, then those of a tournament.
TABLES: Mapping[str, ParquetTable] = {
    "units": ParquetTable("cell_id", "unit", 1_000_000, 2_000),
    "unit_maps": ParquetTable("cell_id", "unit", 100_000, 4_000),
    "outcomes": ParquetTable("cell_id", "metric", 100, 500_000),
    "comparisons": ParquetTable("tournament", 'pair_id, "order"', 1_000_000, 4_000),
    "replies": ParquetTable(None, "judge, prompt_version, grid_a, grid_b, attempt", 2_000_000, 100_000),
}
CELL_PARQUET = ("units", "unit_maps", "outcomes")
TOURNAMENT_PARQUET = ("comparisons", "replies")


def columns_of(table: str) -> dict[str, str]:
    """Return column -> SQL type of a table's Parquet file."""
    return {name: kind for name, kind in schema.current_columns()[table].items() if name != TABLES[table].fixed}


def digest_of(content: bytes) -> str:
    """Return the hash of a file's bytes by which its document names it."""
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def writing_tables() -> Iterator[TableWriter]:
    """Yield a writer of Parquet files, which needs no file of the caller's."""
    with temporary_file() as file, contextlib.closing(open_database(None, other_files=[file])) as opened:
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
        fixed, order = TABLES[table].fixed, TABLES[table].order
        names = ", ".join(f'"{name}"' for name in columns_of(table))
        rows = f"SELECT {names} FROM {table} ORDER BY {order}"
        self.opened.execute(f"DELETE FROM {table}")
        frames.insert(self.opened, table, frame, {fixed: ""} if fixed else {})
        # Directly: a temporary file beside it may not be written.
        self.file.unlink(missing_ok=True)
        self.opened.execute(
            f"COPY ({rows}) TO '{sql_path(self.file)}' (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)"
        )
        return self.file.read_bytes()


@contextlib.contextmanager
def temporary_file() -> Iterator[Path]:
    """Yield the path of a file in a new folder, which is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        yield Path(folder) / "table.parquet"


def sql_path(file: Path) -> str:
    """Return a path for the inside of an SQL text."""
    return str(file).replace("'", "''")
