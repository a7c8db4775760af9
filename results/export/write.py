"""Export of boards and raw results: CSV, Parquet, Markdown, LaTeX, and one HTML page.

Every function returns text or bytes, so that the app's downloads can use them; only `write_*` functions write files.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from results import tables
from results.atomic import partial_file
from results.boards.board import FRAME_SUFFIXES, Board, BoardKey, Row, board_frame, require_metrics
from results.boards.families import GROUP_HEADINGS
from results.boards.lead_columns import column_name, judged_by, lead_of
from results.boards.trials import marked
from results.boards.value_text import (
    UNITS_NOTE,
    board_cells,
    flag_lines,
    floor_text,
    headline_lines,
    observed,
    sign_lines,
    units_with_score,
    value_text,
)
from results.csv_guard import csv_cell
from results.errors import StoreError
from results.export.html import page
from results.replaceable import require_replaceable
from results.store.labels import all_labels
from results.tables import Table

if TYPE_CHECKING:
    import pandas as pd

    from results.store import Store

FORMATS = ("csv", "parquet", "markdown", "latex", "html")
RAW = ("cells", "scores", "labels")
_ENDINGS = {".csv": "csv", ".parquet": "parquet", ".md": "markdown", ".tex": "latex", ".html": "html", ".htm": "html"}


def boards_frame(boards: Sequence[Board]) -> pd.DataFrame:
    """Return all boards as one frame: the board's identifying columns, then those of `board_frame` or missing values.

    Values are as stored: fractions are not turned into percent.
    """
    import pandas as pd

    frames = []
    for board in boards:
        frame = board_frame(board)
        head = pd.DataFrame({name: [getattr(board, name)] * len(frame) for name in BoardKey._fields}, index=frame.index)
        frames.append(pd.concat([head, frame], axis=1))
    if not frames:
        return pd.DataFrame()
    frame = pd.concat(frames, ignore_index=True)
    # A board without the column would turn its counts into floats.
    return frame.astype({f"{column.key}_n": "Int64" for board in boards for column in board.columns})


def raw_frame(store: Store, table: str) -> pd.DataFrame:
    """Return the `cells`, `scores` or `labels` of a store, mappings and lists as JSON text, tracebacks left out.

    `labels` are the concept labels of units by all labellings, with the columns of the cell that identify it.

    Raises:
        StoreError: an unknown name, or the store cannot be read.
    """
    if table not in RAW:
        raise StoreError(f"Unknown table {table!r}; export one of boards, {', '.join(RAW)}.")
    frame = _READERS[table](store).drop(columns="traceback", errors="ignore")
    for name in frame.columns:
        if any(isinstance(value, (dict, list)) for value in frame[name]):
            frame[name] = [None if value is None else json.dumps(value, sort_keys=True) for value in frame[name]]
    return frame


_READERS: Mapping[str, Callable[[Store], pd.DataFrame]] = {
    "cells": lambda store: store.cells(),
    "scores": lambda store: store.scores(),
    "labels": all_labels,
}


def csv_text(frame: pd.DataFrame, undefined: str = "") -> str:
    """Return a frame as CSV; missing values are empty, NaN is `undefined` (in the raw results it is a value).

    Texts are guarded as in :mod:`results.csv_guard`; numbers are as they are.
    """
    if undefined:
        frame = frame.map(lambda value: undefined if isinstance(value, float) and math.isnan(value) else value)
    frame = frame.map(lambda value: csv_cell(value) if isinstance(value, str) else value)
    return str(frame.set_axis([csv_cell(str(name)) for name in frame.columns], axis="columns").to_csv(index=False))


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    """Return a frame as a Parquet file. Raises StoreError for a frame without columns, which Parquet cannot hold."""
    from results.store.database import open_database

    if not len(frame.columns):
        raise StoreError("There is nothing to export: no cell matches.")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "frame.parquet"
        with open_database(None, other_files=[file]) as connection:
            connection.register("frame", frame)
            connection.execute(f"COPY frame TO '{file}' (FORMAT parquet)")
        return file.read_bytes()


def board_table(board: Board, metrics: Sequence[str] | None = None) -> Table:
    """Return a board as a table of text: mean ± standard error, flags beside the names, and notes that explain them.

    Args:
        metrics: keys or ids of the columns to show; None: all.
    """
    columns = board.columns_called(metrics)
    units = units_with_score(board.rows, columns)
    header = ["method", "n", *(["units"] if units else []), *(column.heading for column in columns)]
    units_of = dict(zip((id(row) for row in board.rows), units, strict=False))
    counted = {column.key: observed(board.rows, column) for column in columns}
    each = {key for key, (kind, count) in counted.items() if kind and count is None}
    rows: list[list[str]] = []
    headings: list[int] = []
    for group, members in itertools.groupby(board.rows, key=lambda row: row.group):
        if heading := GROUP_HEADINGS.get(group):
            headings.append(len(rows))
            rows.append([heading, *[""] * (len(header) - 1)])
        for row in members:
            values = (value_text(row, column, observations=column.key in each) for column in columns)
            counts = [units_of[id(row)]] if units else []
            rows.append([row.title_with_flags, row.cell_count, *counts, *values])
    notes = [*board.headline, *flag_lines((row.title, row) for row in board.rows), *_failures(board.rows)]
    for column in columns:
        # The headline and the flags name metrics in words.
        if (lead := lead_of(column)) and column_name(column) != column.key:
            notes.append(f"{column.key}: {column_name(column)}, {lead.explanation}")
        kind, count = counted[column.key]
        if kind:
            notes.append(
                f"{column.key}: over {count} {kind}"
                if count is not None
                else f"{column.key}: the number after 'of' counts {kind}"
            )
        if judges := judged_by(column):
            notes.append(f"{column.key}: {judges}")
        if column.panel_agreement is not None:
            notes.append(f"{column.key}: panel agreement (Krippendorff's alpha) {column.panel_agreement:.2f}")
        if column.panel_at_chance:
            notes.append(f"{column.key}: judges at chance, not ranked: {column.panel_at_chance}")
    notes += [f"{floor.column.key}: {floor_text(floor)}" for floor in board.floors]
    notes += [UNITS_NOTE] if units else []
    notes += sign_lines(board_cells(board, columns)) + headline_lines(board)
    numeric = (False, *[True] * (len(header) - 1))
    return Table(marked(board.title, board), header, rows, numeric, [*notes, *board.notes], headings)


def _failures(rows: Sequence[Row]) -> list[str]:
    return [
        f"failed: {row.title}, {row.n_failed} cells: {'; '.join(dict.fromkeys(row.errors))}"
        for row in rows
        if row.n_failed
    ]


def markdown(boards: Sequence[Board], metrics: Sequence[str] | None = None) -> str:
    """Return boards as Markdown tables."""
    return "\n".join(tables.markdown(board_table(board, metrics)) for board in boards)


def latex(boards: Sequence[Board], metrics: Sequence[str] | None = None) -> str:
    """Return boards as LaTeX tables (packages booktabs and longtable)."""
    return "\n".join(tables.latex(board_table(board, metrics)) for board in boards)


def exported(
    boards: Sequence[Board],
    form: str,
    *,
    metrics: Sequence[str] | None = None,
    x: str | None = None,
    y: str | None = None,
) -> bytes:
    """Return boards in one of FORMATS, as the bytes of a file.

    Args:
        metrics: keys or ids of the metrics to export; None: all.
        x: metric of the HTML page's front; None: the first of r2, agreement and accuracy that the board has.
        y: the other metric of the front; None: the first of ms_score_token_adjusted and ms_score that the board has.

    Raises:
        StoreError: an unknown format or metric, or nothing to export.
    """
    if form not in FORMATS:
        raise StoreError(f"Unknown export format {form!r}; use one of {', '.join(FORMATS)}.")
    if not boards:
        raise StoreError("There is nothing to export: no cell matches.")
    require_metrics(boards, [*(metrics or ()), *filter(None, (x, y))])
    if form in ("csv", "parquet"):
        frame = boards_frame(boards)
        if metrics is not None:
            ends = FRAME_SUFFIXES
            all_keys = {column.key + end for board in boards for column in board.columns for end in ends}
            wanted = {column.key + end for board in boards for column in board.columns_called(metrics) for end in ends}
            frame = frame[[name for name in frame.columns if name not in all_keys or name in wanted]]
        return csv_text(frame).encode() if form == "csv" else parquet_bytes(frame)
    if form == "html":
        # The page shows the headline above the front.
        tables_below = [
            table._replace(notes=[note for note in table.notes if note not in board.headline])
            for board, table in ((board, board_table(board, metrics)) for board in boards)
        ]
        return page(list(zip(boards, tables_below, strict=True)), x=x, y=y).encode()
    return (markdown if form == "markdown" else latex)(boards, metrics).encode()


def form_of(path: Path) -> str:
    """Return the export format of a file's suffix. Raises StoreError for an unknown suffix."""
    form = _ENDINGS.get(path.suffix.lower())
    if form is None:
        raise StoreError(
            f"The suffix of {path.name!r} is not an export format; use {', '.join(_ENDINGS)}, or give --format."
        )
    return form


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file atomically. Raises StoreError if it cannot be written."""
    write_bytes(path, text.encode())


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file atomically.

    Raises:
        StoreError: writing fails, or the path is that of a folder, a device or a pipe, or of a results store: these
            are never overwritten.
    """
    target = require_replaceable(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial_file(target) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise StoreError(f"{target} cannot be written ({error.strerror}); choose another path.") from error
