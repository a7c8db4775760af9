"""Tables of the rows of all boards that share one property: one method over layers, one layer over methods, ...

Rows of different boards are shown in one table but not ranked: it has no ranks and no marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from results.boards.board import Board, BoardKey, Row, require_metrics, row_json
from results.boards.trials import WARNING
from results.errors import StoreError
from results.store.records import grouped
from results.tables import Table

BY_KEYS = ("method", "label", "backbone", "site", "dataset")


def tables_by(boards: Sequence[Board], by: str, metrics: Sequence[str] | None = None) -> list[Table]:
    """Return one table per value of `by`, its rows being all rows of all boards with that value.

    Args:
        by: one of BY_KEYS.
        metrics: keys or ids of the columns to show; None: all.

    Raises:
        StoreError: an unknown property or metric.
    """
    groups = _groups(boards, by)
    if boards:
        require_metrics(boards, metrics or ())
    tables = []
    for value, members in groups.items():
        columns = {column.key: column for board, _ in members for column in board.columns_called(metrics)}
        # Rows of a method differ in their configuration, so their titles stay.
        header = [name for name in ("method", "backbone", "site", "dataset") if name == "method" or name != by]
        rows = []
        for board, row in members:
            board_columns = {column.key: column for column in board.columns}
            cells = [_named(board, row, name) for name in header] + [str(row.n_finished)]
            for key in columns:
                if aggregate := row.metrics.get(key):
                    values = [aggregate.mean] if aggregate.std is None else [aggregate.mean, aggregate.std]
                    cells.append(" ± ".join(map(board_columns[key].text, values)))
                else:
                    cells.append("-")
            rows.append(cells)
        titles = [f"{column.key}{' (%)' if column.unit == 'fraction' else ''}" for column in columns.values()]
        notes = []
        if len({id(board) for board, _ in members}) > 1:
            notes.append("Rows of different layers or sets are listed together but not ranked.")
        if any(WARNING in board.notes for board, _ in members):
            notes.append(WARNING)
        numeric = (*[False] * len(header), *[True] * (len(titles) + 1))
        tables.append(Table(f"{by}: {value}", [*header, "n", *titles], rows, numeric, notes))
    return tables


def tables_by_json(boards: Sequence[Board], by: str) -> list[dict[str, Any]]:
    """Return the same as JSON content, values as stored. Raises StoreError as `tables_by`."""
    content = []
    for value, members in _groups(boards, by).items():
        rows = [
            {
                **{name: getattr(board, name) for name in BoardKey._fields if name != "probing_fingerprint"},
                **row_json(row),
            }
            for board, row in members
        ]
        content.append({"by": by, "group": value, "rows": rows})
    return content


def _groups(boards: Sequence[Board], by: str) -> dict[str, list[tuple[Board, Row]]]:
    if by not in BY_KEYS:
        raise StoreError(f"Rows cannot be grouped by {by!r}; use one of {', '.join(BY_KEYS)}.")

    def value_of(member: tuple[Board, Row]) -> str:
        board, row = member
        return str(getattr(row if by in ("method", "label") else board, by) or "(not recorded)")

    return dict(sorted(grouped([(board, row) for board in boards for row in board.rows], value_of).items()))


def _named(board: Board, row: Row, name: str) -> str:
    return row.title if name == "method" else str(getattr(board, name) or "(not recorded)")
