"""Lookup of a board's row by label, configuration id or method name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from results.boards.board import Board, Row
from results.errors import StoreError
from results.nearest_names import alternatives

_SHORTEST_ID = 4


def row_called(board: Board, name: str) -> Row | None:
    """Return the row of `board` with this name, or None if there is none.

    Title, label, configuration id (or its first 4 or more digits) and method name are tried in that order.

    Raises:
        StoreError: several rows match the name.
    """
    wanted = name.strip().casefold()
    tests: tuple[Callable[[Row], bool], ...] = (
        lambda row: row.title.casefold() == wanted,
        lambda row: row.label.casefold() == wanted,
        lambda row: row.config_id.casefold() == wanted,
        lambda row: len(wanted) >= _SHORTEST_ID and row.config_id.casefold().startswith(wanted),
        lambda row: row.method.casefold() == wanted,
    )
    for test in tests:
        matches = [row for row in board.rows if test(row)]
        if len(matches) > 1:
            names = ", ".join(f"{row.title!r} ({row.config_id[:8]})" for row in matches)
            raise StoreError(
                f"{name!r} matches {len(matches)} rows of {board.layer_title}: {names}; "
                "use a title or a configuration id."
            )
        if matches:
            return matches[0]
    return None


def unknown_row(name: str, boards: Sequence[Board]) -> StoreError:
    """Return the error for an unknown `name`, with the existing alternatives."""
    rows = [row for board in boards for row in board.rows]
    titles = list(dict.fromkeys(row.title for row in rows))
    keys = [key for row in rows for key in (row.title, row.label, row.method, row.config_id)]
    return StoreError(f"No row of this store is named {name!r}. {alternatives(name, titles, similar=keys)}")
