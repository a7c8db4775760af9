"""Tables of the rows of all boards that share one property: one method over layers, one layer over methods, ...

Rows of different boards are shown in one table but not ranked: it has no ranks and no marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from results.boards.board import Board, BoardKey, Row, require_metrics, row_json
from results.boards.trials import WARNING
from results.boards.value_text import board_cells, flag_lines, sign_lines, value_text
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
    tables = [_table(f"{by}: {value}", by, members, metrics) for value, members in groups.items()]
    if tables:
        cells = [cell for board in boards for cell in board_cells(board, board.columns_called(metrics))]
        # Headings have no arrows here, since rows are not ranked. One explanation for all tables is enough.
        signs = [line for line in sign_lines(cells, ranked=False) if not line.startswith("↑")]
        tables[-1] = tables[-1]._replace(notes=[*tables[-1].notes, *signs])
    return tables


def _table(title: str, by: str, members: Sequence[tuple[Board, Row]], metrics: Sequence[str] | None) -> Table:
    columns = {column.key: column for board, _ in members for column in board.columns_called(metrics)}
    # Rows of a method differ in their configuration, so their titles stay.
    properties = [name for name in ("method", "backbone", "site", "dataset") if name == "method" or name != by]
    rows = []
    for board, row in members:
        column_of = {column.key: column for column in board.columns}
        values = [value_text(row, column_of[key], ranked=False) if key in column_of else "-" for key in columns]
        rows.append([*(_named(board, row, name) for name in properties), row.cell_count, *values])
    several = len({id(board) for board, _ in members}) > 1
    notes = flag_lines((f"{row.title} at {board.site}" if several else row.title, row) for board, row in members)
    if several:
        notes.append("Rows of different layers or sets are listed together but not ranked.")
    if any(WARNING in board.notes for board, _ in members):
        notes.append(WARNING)
    header = [*properties, "n", *(column.name_with_unit for column in columns.values())]
    return Table(title, header, rows, [index >= len(properties) for index in range(len(header))], notes)


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
    return row.title_with_flags if name == "method" else str(getattr(board, name) or "(not recorded)")
