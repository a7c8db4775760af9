"""Rows that a page shows before the reader chooses: those of the headline."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from results.app.widgets import Choice
from results.boards.board import Board, Row
from results.comparison.headline import contrasted_rows


def focus_row(boards: Sequence[Board]) -> Choice | None:
    """Return the row in focus of the board that the reader chose last, else of the first board that has one."""
    for board in sorted(boards, key=_was_chosen, reverse=True):
        if selected := contrasted_rows(board):
            return Choice(board, selected[1])
    return None


def headline_rows(board: Board) -> list[Row]:
    """Return the two rows that the headline of a board compares; fewer if there are no two."""
    selected = contrasted_rows(board)
    return [] if selected is None else [selected[1], *(row for _, row in selected[2][:1])]


def rival_row(board: Board, row: Row) -> Choice | None:
    """Return the row that a row is compared with: the best sparse autoencoder, or the row in focus for other rows."""
    selected = contrasted_rows(board)
    if selected is None:
        return None
    _, focus, others = selected
    if row is not focus:
        return Choice(board, focus)
    return Choice(board, others[0][1]) if others else None


def _was_chosen(board: Board) -> tuple[bool, bool]:
    chosen = (st.session_state.get(f"chosen_{name}") for name in ("backbone", "site"))
    backbone, site = (value == name for value, name in zip(chosen, (board.backbone, board.site), strict=True))
    return backbone, backbone and site
