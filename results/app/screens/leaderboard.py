"""Leaderboard: one table ranked with intervals, a weighted score, failed cells, notes on comparability, downloads."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from results.app import address, board_table, data, downloads, flags, navigation, weighted_table, widgets
from results.app.board_content import capitalised, explanation, leaderboard_table, rank_column, rank_spans
from results.app.column_groups import COMMANDS, LEADERS, folded, leads, visible_columns
from results.app.column_standing import Standings
from results.app.sorting import Sorting, default_column
from results.app.titles import floor_title, plain, visible
from results.boards.board import Board, Column
from results.boards.lead_columns import column_name, metric_name
from results.boards.value_text import board_cells, floor_text, sign_lines

_WORST = "worst"


def render() -> None:
    """Show the page."""
    st.title("Leaderboard")
    with data.page() as store:
        board = widgets.board_of(data.require_boards(store))
        standings = Standings(store, board)
        _table(board, standings)
        weighted_table.show(board, standings)
        _notes(board)
        downloads.show(board)


def _table(board: Board, standings: Standings) -> None:
    sorting = _sorting(board)
    st.markdown(finding(board, standings, rank_column(board, sorting)))
    columns = visible_columns(board, _unfolded(board))
    if not columns:
        st.info("No method of this board has a measurement yet. The page Runs lists the failed cells.")
        return

    def sort(key: str) -> None:
        is_again = sorting.column is not None and key == sorting.column.key
        address.put(by=key, order=_WORST if is_again and not sorting.worst_first else "")

    if clicked := board_table.show(leaderboard_table(board, standings, columns, sorting), "board", sort):
        navigation.go("method", cell=clicked)
    _legend(board, [column for members in columns.values() for column in members])
    flags.explain((row.title, row) for row in board.rows)


def _sorting(board: Board) -> Sorting:
    """Return the order that the address names, or the default one."""
    named = address.get("by")
    column = next((column for column in board.columns if column.key == named), None)
    return Sorting(column or default_column(board), column is not None and address.get("order") == _WORST)


def _unfolded(board: Board) -> list[str]:
    """Let the reader choose groups of further columns."""
    further = folded(board)
    if not further:
        return []
    key = "more columns"
    wanted = [group for group in address.get("more").split(",") if group in further]
    if st.session_state.get(key) != wanted:
        st.session_state[key] = wanted
    st.pills(
        "More columns",
        list(further),
        selection_mode="multi",
        key=key,
        format_func=lambda group: f"{group} +{len(further[group])}",
        on_change=lambda: address.put(more=",".join(st.session_state[key])),
        help="The columns of a group stand beside its lead column.",
    )
    return wanted


def finding(board: Board, standings: Standings, column: Column | None) -> str:
    """Return a sentence on who is first in a column, as Markdown."""
    spans = rank_spans(board, standings, column)
    first = [
        row
        for row, span in zip(board.rows, spans, strict=True)
        if span is not None and span[0] == 1 and row.group == "method"
    ]
    n_ranked = sum(span is not None and row.group == "method" for row, span in zip(board.rows, spans, strict=True))
    if column is None or not first:
        return "No method without a flag is ranked."
    first.sort(key=lambda row: row.metrics[column.key].rank or 0)
    name = plain(column_name(column))
    titles = [f"**{plain(row.title)}**" for row in first]
    if n_ranked == 1:
        return f"By {name}, only {titles[0]} is ranked: the others are flagged, lossless by construction, or lack it."
    if len(first) == 1:
        return f"By {name}, {titles[0]} is first of {n_ranked} ranked methods, beyond the errors."
    return (
        f"By {name}, {', '.join(titles[:-1])} and {titles[-1]} cannot be told apart: each may be first of {n_ranked} "
        "ranked methods."
    )


def _legend(board: Board, columns: Sequence[Column]) -> None:
    lead_of = leads(board)
    missing = [
        metric_name(metrics[0]) + (f" (`{COMMANDS[group]}`)" if group in COMMANDS else "")
        for group, metrics in LEADERS.items()
        if group not in lead_of
    ]
    if missing:
        st.caption(f"Not measured on this board: {', '.join(missing)}.")
    with st.expander("How to read this table", icon=":material/info:"):
        st.markdown("\n".join(f"- {line}" for line in _explanations(board, columns)))


def _explanations(board: Board, columns: Sequence[Column]) -> list[str]:
    """Return what the ranks, the columns and the floors mean, as Markdown."""
    lines = [
        "**Ranks** are ranges over seeded draws of all means (95 %), from the spread over seeds and the sampling "
        "within a cell. Errors that methods share, such as those of the images, are drawn once for all methods.",
        *(
            f"**{plain(capitalised(column_name(c)))}**: {plain(text)}."
            for c in columns
            if (text := explanation(board, c))
        ),
    ]
    lossless = [line for line in sign_lines(board_cells(board, columns)) if line.startswith("lossless: ")]
    lines += [f"**Lossless**: {plain(line.removeprefix('lossless: '))}." for line in lossless]
    if board.floors:
        floors = ", ".join(f"{floor_title(floor.column.key)} {floor_text(floor)}" for floor in board.floors)
        lines.append(f"**For comparison**: {plain(floors)}.")
    return lines


def _notes(board: Board) -> None:
    failed = [(row, error) for row in board.rows for error in dict.fromkeys(row.errors)]
    if failed:
        st.header("Failed cells")
        st.text("\n".join(visible(f"{row.title}: {error}") for row, error in failed))
    if board.notes:
        with st.expander(f"Notes on comparability ({len(board.notes)})", icon=":material/notes:"):
            st.markdown("\n".join(f"- {plain(note)}" for note in board.notes))


if __name__ == "__main__":
    render()
