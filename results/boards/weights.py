"""Weights of a weighted score: as text, by preset, and the columns of a board that they belong to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from results.boards.board import Board, Column
from results.boards.ranking import FAITHFULNESS, HEADLINE
from results.boards.reference_scales import SCALES
from results.errors import StoreError
from results.nearest_names import alternatives

#: Dimension -> metrics of which the first that a board has stands for it.
AXES: Mapping[str, Sequence[str]] = {
    "interpretability": HEADLINE,
    "faithfulness": FAITHFULNESS,
    "cost": ("fit_seconds", "encode_macs"),
}
#: Name -> weights of the dimensions.
PRESETS: Mapping[str, tuple[float, ...]] = {
    "balanced": (1.0, 1.0, 1.0),
    "faithful": (0.2, 1.0, 0.2),
    "interpretable": (1.0, 0.2, 0.2),
    "cheap": (0.2, 0.2, 1.0),
}


def parsed_weights(text: str) -> dict[str, float]:
    """Return metric or dimension -> weight of a text such as "ms_score=2,r2=1", or of the name of a preset.

    Metrics with weight 0 are left out.

    Raises:
        StoreError: an unknown preset, a weight that is no finite number of at least 0, a metric that is named twice or
            has no reference scale, or no weight above 0.
    """
    if text in PRESETS:
        return dict(zip(AXES, PRESETS[text], strict=True))
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, sign, number = (piece.strip() for piece in part.partition("="))
        if not sign:
            raise StoreError(
                f"{part.strip()!r} is no weight: write METRIC=WEIGHT, such as ms_score=2,r2=1, or one of "
                f"{', '.join(PRESETS)}."
            )
        if name in weights:
            raise StoreError(f"The weight of {name} is given twice: name each metric once.")
        weights[name] = _weight(name, number)
        if name not in AXES and name not in SCALES:
            raise StoreError(f"{name!r} has no reference scale, so it cannot be weighted. {_alternatives(name)}")
    used = {name: weight for name, weight in weights.items() if weight > 0}
    if not used:
        raise StoreError("All weights are 0: give at least one metric a weight above 0.")
    return used


def _weight(name: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise StoreError(f"The weight of {name} is {text!r}: it must be a finite number of at least 0, such as 2.")
    return weight


def _alternatives(name: str) -> str:
    return alternatives(name, [*AXES, *SCALES])


def require_measured(boards: Sequence[Board], weights: Mapping[str, float]) -> None:
    """Raise StoreError if a metric or dimension with a weight is on none of the boards."""
    for name in weights:
        if boards and not any(column_of(board, name) for board in boards):
            present = sorted({column.metric for board in boards for column in board.columns} & set(SCALES))
            raise StoreError(f"No board here has {name!r}, which has a weight. {alternatives(name, present)}")


def column_of(board: Board, name: str) -> Column | None:
    """Return the column of a metric or dimension; of several columns, the one with the most rows.

    None if the board has none. A dimension is measured by the first of its metrics that the board has.
    """
    for metric in AXES.get(name, (name,)):
        if candidates := [column for column in board.columns if column.metric == metric]:
            return max(candidates, key=lambda column: sum(column.key in row.metrics for row in board.rows))
    return None


def axes_of(board: Board) -> dict[str, Column]:
    """Return dimension -> its column, for those that the board has."""
    columns = {axis: column_of(board, axis) for axis in AXES}
    return {axis: column for axis, column in columns.items() if column is not None}
