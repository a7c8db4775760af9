"""Rows that may be ranked together, their means over seeds, and their ranks.

Two scores that differ in metric version, parameters, judge panel, evaluation set or, for time and memory, in device
are never ranked together: they become separate columns or separate boards, and a note says why.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from results.boards.board import PLURALS, Board, BoardKey, Column, Floor, board_frame, board_json
from results.boards.chance import PairedDifference
from results.boards.columns import Variant, columns_of, variant_of
from results.boards.fit_seconds import attach_fit_seconds
from results.boards.flags import FlagInputs, flags_of
from results.boards.group_columns import attach_group_scores
from results.boards.ranking import HEADLINE, in_order, ranked, sort_note
from results.boards.rows import FLOOR_PREFIX, rows_of
from results.boards.seeds import without_sweeps
from results.boards.text import render_text
from results.boards.trials import trial_notes
from results.boards.win_rate_columns import attach_win_rates
from results.errors import StoreError
from results.nearest_names import alternatives
from results.store.records import grouped, records_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "EVIDENCE_PREFIX",
    "FLOOR_PREFIX",
    "HEADLINE",
    "Board",
    "board_frame",
    "board_json",
    "boards_of",
    "records_of",
    "render_text",
]

# Inputs of the property verdicts (see properties.py); they have no column.
EVIDENCE_PREFIX = "evidence_"


def boards_of(
    cells: pd.DataFrame,
    scores: pd.DataFrame,
    *,
    sort_by: str | None = None,
    win_rates: pd.DataFrame | None = None,
    groups: pd.DataFrame | None = None,
    sweeps: bool = False,
    paired_on: Callable[[Board], PairedDifference] | None = None,
) -> list[Board]:
    """Return the boards of frames as returned by `Store.cells()`, `Store.scores()`, `win_rates()` and `group_scores()`.

    Cells of sweeps are shown beside other cells only if `sweeps` is true.

    Args:
        sort_by: metric id to sort rows by; default ms_score.
        paired_on: board -> its paired differences, for the flag `at chance` (`results.comparison.chance_pairs`).
            Without it, the flag adds the errors of two rows as if they were independent.

    Raises:
        StoreError: no score is of the metric `sort_by`.
    """
    cell_records = records_of(cells)
    measured = records_of(scores)
    attached = [attach_fit_seconds(cell_records, measured)]
    if win_rates is not None:
        attached.append(attach_win_rates(cell_records, records_of(win_rates)))
    if groups is not None:
        attached.append(attach_group_scores(cell_records, records_of(groups)))
    visible = [score for score in measured if not score["metric"].startswith(EVIDENCE_PREFIX)]
    score_records = visible + [score for source in attached for score in source.scores]
    if sort_by is not None and sort_by not in (metric_ids := sorted({score["metric"] for score in score_records})):
        raise StoreError(f"No cell here has the metric {sort_by!r}. {alternatives(sort_by, metric_ids)}")
    scores_of_cell = grouped(score_records, lambda score: score["cell_id"])
    members = grouped(cell_records, BoardKey.of)
    boards = []
    for key in sorted(members):
        board_cells, left_out = (members[key], []) if sweeps else without_sweeps(members[key])
        notes = [note for source in attached for note in source.notes_of(board_cells)]
        boards.append(_board(board_cells, scores_of_cell, left_out + _set_notes(key, members), notes, sort_by))
    return [_ranked(board, sort_by, paired_on(board) if paired_on else None) for board in boards]


def _ranked(board: Board, sort_by: str | None, paired: PairedDifference | None) -> Board:
    """Return the board with the flags and ranks of its rows, in order."""
    inputs = FlagInputs(board.rows, board.columns, paired)
    rows = [dataclasses.replace(row, flags=flags_of(row, inputs)) for row in board.rows]
    return dataclasses.replace(board, rows=tuple(in_order(ranked(rows, board.columns), board.columns, sort_by)))


def _set_notes(key: BoardKey, keys: Iterable[BoardKey]) -> list[str]:
    """Return notes on the other boards of the same site, with the sets in which they differ from this one."""
    others = [other for other in keys if other[:2] == key[:2] and other != key]
    notes = []
    for index in range(2, len(key)):
        # The first difference is enough to explain a board: a different data set has different splits anyway.
        seen = sorted(
            {other[index] for other in others if other[2:index] == key[2:index] and other[index] != key[index]}
        )
        if seen:
            names = ", ".join(name or "(not recorded)" for name in seen)
            notes.append(
                f"Cells of different {PLURALS[index]} are not ranked together: this board is "
                f"{key[index] or '(not recorded)'}; other boards of this site: {names}."
            )
    return notes


def _board(
    cells: list[dict[str, Any]],
    scores_of_cell: Mapping[str, list[dict[str, Any]]],
    set_notes: list[str],
    score_notes: list[str],
    sort_by: str | None,
) -> Board:
    """Return a board whose rows have neither flags nor ranks."""
    head = cells[0]
    # A failed cell may have left scores behind; a mean over partial cells would not be comparable.
    board_scores = [
        {**score, "cell": cell, "variant": variant_of(score, cell)}
        for cell in cells
        if cell["status"] == "finished"
        for score in scores_of_cell.get(cell["cell_id"], [])
        if score["value"] is not None
    ]
    columns, key_of, column_notes = columns_of(board_scores, head["evaluation_fingerprint"])
    rows, row_notes = rows_of(cells, board_scores, columns, key_of)
    visible_columns = [column for column in columns if not column.metric.startswith(FLOOR_PREFIX)]
    titles = [cell["backbone_title"] for cell in cells if cell["backbone_title"]]
    return Board(
        **{name: head[name] for name in BoardKey._fields},
        backbone_title=titles[0] if titles else head["backbone"],
        columns=tuple(visible_columns),
        rows=tuple(rows),
        floors=tuple(_floors(board_scores, columns, key_of)),
        # First what concerns the whole board, last the details of single values.
        notes=(
            *trial_notes(cells),
            *sort_note(visible_columns, sort_by),
            *row_notes,
            *set_notes,
            *column_notes,
            *score_notes,
        ),
    )


def _floors(
    board_scores: Sequence[Mapping[str, Any]], columns: Sequence[Column], key_of: Mapping[tuple[str, Variant], str]
) -> list[Floor]:
    floors = []
    scores_of = grouped(board_scores, lambda score: key_of[score["metric"], score["variant"]])
    for column in columns:
        if column.metric.startswith(FLOOR_PREFIX):
            values = [float(score["value"]) for score in scores_of[column.key] if math.isfinite(score["value"])]
            if values:
                floors.append(Floor(column=column, low=min(values), high=max(values)))
    return floors
