"""Ranks, marks and order of a board's rows.

Only rows of one group are ranked together, and only if nothing speaks against it: controls are not candidates, and
flagged rows (`flags`) may mislead. Both have no rank, and do not change the ranks of others. The same holds for a
lossless method in a metric that its losslessness determines, and for all rows in a metric of judges at chance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from results.boards.board import Column, Row
from results.boards.families import GROUPS

#: Scores by which methods are sorted, compared with chance and put into the headline: the first that a board has. The
#: first leaves out what a unit gains by choosing CLS or patch tokens. `ms_score_adjusted` is not among them: its level
#: of chance depends on the density of the codes.
HEADLINE = ("ms_score_token_adjusted", "ms_score")
#: Metrics of faithfulness, the first that a board has. Accuracy is last: its error is large, and common to all rows.
FAITHFULNESS = ("r2", "agreement", "accuracy")
#: Metrics whose value follows from losslessness: that of a perfect reconstruction, or of the original network.
BY_CONSTRUCTION = frozenset(
    {"r2", "r2_pooled", "fvu", "accuracy", "accuracy_recovered", "agreement", "agreement_recovered", "kl"}
)


def is_candidate(row: Row) -> bool:
    """Return whether a row may be on a front or first by a weighted score.

    It is a method without a flag, whose units are part of the model.
    """
    return row.group == "method" and not row.flags


def is_ranked(row: Row, column: Column) -> bool:
    """Return whether a row takes part in the ranking of a column."""
    if column.direction == "none" or column.key not in row.metrics or row.group == "control" or row.flags:
        return False
    if column.panel_at_chance:
        return False
    return not (row.is_lossless and column.metric in BY_CONSTRUCTION)


def ranked(rows: Sequence[Row], columns: Sequence[Column]) -> list[Row]:
    """Return the rows with their ranks and marks in each column, within each group."""
    metrics = [dict(row.metrics) for row in rows]
    for column in columns:
        sign = -1.0 if column.direction == "higher" else 1.0
        for group in GROUPS:
            members = [index for index, row in enumerate(rows) if row.group == group and is_ranked(row, column)]
            cost = {index: sign * column.display_value(metrics[index][column.key].mean) for index in members}
            levels = sorted(set(cost.values()))
            for index, value in cost.items():
                mark = _mark(levels.index(value), len(levels), len(cost))
                rank = 1 + sum(other < value for other in cost.values())
                metrics[index][column.key] = dataclasses.replace(metrics[index][column.key], rank=rank, mark=mark)
    return [dataclasses.replace(row, metrics=aggregates) for row, aggregates in zip(rows, metrics, strict=True)]


def _mark(level: int, n_levels: int, n_rows: int) -> str | None:
    """Return the mark of the rows with the `level`-th best printed value."""
    if level == 0:
        return "best" if n_levels > 1 else None  # if all values are tied, none is best
    return "second" if level == 1 and n_rows > 2 else None  # the second of two is the last


def in_order(rows: Sequence[Row], columns: Sequence[Column], sort_by: str | None) -> list[Row]:
    """Return the rows by group, then by the metric `sort_by`, or the headline metric; rows without it come last."""
    candidates = [column for column in columns if column.is_called(sort_by)]
    candidates += [column for metric in HEADLINE for column in columns if column.metric == metric]
    candidates += [column for column in columns if column.direction != "none"]
    chosen = candidates[0] if candidates else None
    sign = 1.0 if chosen and chosen.direction == "lower" else -1.0

    def position(row: Row) -> tuple[int, bool, float, str, str]:
        aggregate = row.metrics.get(chosen.key) if chosen else None
        mean = sign * aggregate.mean if aggregate else 0.0
        return GROUPS.index(row.group), aggregate is None, mean, row.title, row.config_id

    return sorted(rows, key=position)


def sort_note(columns: Sequence[Column], sort_by: str | None) -> list[str]:
    """Return a note if the board lacks the metric `sort_by`."""
    if sort_by is None or any(column.is_called(sort_by) for column in columns):
        return []
    headline = [column.key for metric in HEADLINE for column in columns if column.metric == metric]
    instead = headline[0] if headline else "the first metric with a direction"
    return [f"This board lacks {sort_by}; its rows are sorted by {instead}."]
