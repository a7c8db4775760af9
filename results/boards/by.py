"""Rows of all boards grouped by a common property: one method over layers, one layer over methods, ...

Rows of different boards are shown in one table but not ranked: it has no ranks and no marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from results.boards.board import Board, Row, board_json
from results.boards.trials import WARNING
from results.errors import StoreError
from results.tables import Table

GROUPINGS = ("method", "label", "backbone", "site", "dataset")


def grouped(boards: Sequence[Board], by: str, metrics: Sequence[str] | None = None) -> list[Table]:
    """Return one table per value of `by`, its rows being all rows of all boards with that value.

    Args:
        by: one of GROUPINGS.
        metrics: keys or ids of the columns to show; None: all.

    Raises:
        StoreError: an unknown grouping or metric.
    """
    groups = _groups(boards, by)
    known = {name for board in boards for own in board.columns for name in (own.key, own.metric)}
    for name in metrics or ():
        if boards and name not in known:
            there = ", ".join(sorted({own.metric for board in boards for own in board.columns}))
            raise StoreError(f"No board here has the metric {name!r}; there are: {there}.")
    found = []
    for value, members in groups.items():
        columns = {
            own.key: own
            for board, _ in members
            for own in board.columns
            if metrics is None or own.key in metrics or own.metric in metrics
        }
        # Rows of a method differ in their configuration, so their titles stay.
        header = [name for name in ("method", "backbone", "site", "dataset") if name == "method" or name != by]
        rows = []
        for board, row in members:
            cells = [_named(board, row, name) for name in header] + [str(row.n_finished)]
            for key in columns:
                mine = next((own for own in board.columns if own.key == key), None)
                value_of = row.metrics.get(key)
                if mine is None or value_of is None:
                    cells.append("-")
                else:
                    spread = "" if value_of.std is None else f" ± {mine.text(value_of.std)}"
                    cells.append(mine.text(value_of.mean) + spread)
            rows.append(cells)
        titles = [f"{own.key}{' (%)' if own.unit == 'fraction' else ''}" for own in columns.values()]
        notes = []
        if len({id(board) for board, _ in members}) > 1:
            notes.append("Rows of different layers or sets stand together to be read, not ranked.")
        if any(WARNING in board.notes for board, _ in members):
            notes.append(WARNING)
        found.append(
            Table(
                f"{by}: {value}",
                [*header, "n", *titles],
                rows,
                (*[False] * len(header), *[True] * (len(titles) + 1)),
                notes,
            )
        )
    return found


def grouped_json(boards: Sequence[Board], by: str) -> list[dict[str, Any]]:
    """Return the same as JSON content, values as stored. Raises StoreError as `grouped`."""
    content = []
    for value, members in _groups(boards, by).items():
        rows = [
            {
                "backbone": board.backbone,
                "site": board.site,
                "dataset": board.dataset,
                "evaluation_fingerprint": board.evaluation_fingerprint,
                **next(
                    own
                    for own in board_json(board)["rows"]
                    if own["config_id"] == row.config_id and own["label"] == row.label
                ),
            }
            for board, row in members
        ]
        content.append({"by": by, "group": value, "rows": rows})
    return content


def _groups(boards: Sequence[Board], by: str) -> dict[str, list[tuple[Board, Row]]]:
    if by not in GROUPINGS:
        raise StoreError(f"Rows cannot be grouped by {by!r}; there are {', '.join(GROUPINGS)}.")
    groups: dict[str, list[tuple[Board, Row]]] = {}
    for board in boards:
        for row in board.rows:
            key = row.method if by == "method" else row.label if by == "label" else getattr(board, by)
            groups.setdefault(str(key or "(not recorded)"), []).append((board, row))
    return dict(sorted(groups.items()))


def _named(board: Board, row: Row, name: str) -> str:
    return row.title if name == "method" else str(getattr(board, name) or "(not recorded)")
