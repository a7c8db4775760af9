"""Rows of a board on the plane of two metrics: means, whiskers and the Pareto front, for exported pages and figures.

Whiskers are 95 % intervals (`mean_intervals`); a row with one seed has none. Flagged rows, controls and virtual methods
neither are on the front nor take others off it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from results.boards.board import Board, Column, Row
from results.boards.lead_columns import column_name, unit_text
from results.boards.mean_intervals import confidence_interval
from results.boards.ranking import FAITHFULNESS, HEADLINE, is_candidate
from results.boards.share_intervals import SHARES_OF_IMAGES
from results.visible_text import one_line


class FrontPoint(NamedTuple):
    """Row of the board on the plane of the front, in display units (percent for fractions)."""

    row: Row
    x: float
    y: float
    x_error: tuple[float, float]
    """ends of the 95 % interval; twice the mean without one"""
    y_error: tuple[float, float]
    front: bool
    """true if it is on the Pareto front of the candidates"""


class Axes(NamedTuple):
    """Metrics of the front; one that the board lacks is None."""

    across: Column | None
    up: Column | None
    lacking: str
    """words for the metrics that were looked for in vain; empty if the board has both"""


def axes_of(board: Board, x: str | None = None, y: str | None = None) -> Axes:
    """Return the columns of the axes: those called `x` and `y`, or the first of FAITHFULNESS and HEADLINE."""
    across, up = _column(board, (x,) if x else FAITHFULNESS), _column(board, (y,) if y else HEADLINE)
    lacking = ""
    if across is None or up is None:
        lacking = (x or "r2, agreement and accuracy") if across is None else (y or " and ".join(HEADLINE))
    return Axes(across, up, lacking)


def axis_name(column: Column) -> str:
    """Return the name of an axis: the metric in words, with its unit, and its id if the words are not the id."""
    unit = unit_text(column)
    return one_line(f"{column_name(column)} ({unit})" if unit else column_name(column))


def _column(board: Board, metrics: Sequence[str]) -> Column | None:
    return next((column for metric in metrics for column in board.columns_called([metric])), None)


def front_points(board: Board, across: Column, up: Column) -> list[FrontPoint]:
    """Return the rows of a board that have both metrics, with the front among the candidates."""
    import pandas as pd

    from results.pareto import pareto_front

    rows = [row for row in board.rows if across.key in row.metrics and up.key in row.metrics]
    values = [
        (across.display_value(row.metrics[across.key].mean), up.display_value(row.metrics[up.key].mean)) for row in rows
    ]
    candidates = [index for index, row in enumerate(rows) if is_candidate(row)]
    front: set[int] = set()
    # If neither more nor less of a metric is better, no point dominates another.
    if candidates and "none" not in (across.direction, up.direction):
        frame = pd.DataFrame([values[index] for index in candidates], columns=["x", "y"], dtype="float64")
        mask = pareto_front(frame, "x", "y", across.direction != "lower", up.direction != "lower")
        front = {index for index, is_on in zip(candidates, mask, strict=True) if is_on}
    return [
        FrontPoint(row, *value, whisker(row, across), whisker(row, up), index in front)
        for index, (row, value) in enumerate(zip(rows, values, strict=True))
    ]


def whisker(row: Row, column: Column) -> tuple[float, float]:
    """Return the ends of the 95 % interval of a row's mean as displayed; the mean itself if it has no interval."""
    aggregate = row.metrics[column.key]
    interval = confidence_interval(aggregate, is_share=column.metric in SHARES_OF_IMAGES)
    is_one_seed = aggregate.n < 2 and aggregate.interval is None
    is_by_construction = row.is_lossless and column.metric == "agreement" and aggregate.mean == 1
    if is_one_seed or is_by_construction:
        interval = None
    low, high = interval or (aggregate.mean, aggregate.mean)
    return column.display_value(low), column.display_value(high)
