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
from results.boards.board import Board, Column, Row
from results.boards.lead_columns import INTERPRETABILITY, column_name, group_of, metric_name, unit_text
from results.boards.value_text import board_cells, floor_text, sign_lines
from results.minus_sign import with_minus
from results.short_number import short_number

_WORST = "worst"


def render() -> None:
    """Show the page."""
    heading = st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center")
    heading.title("Leaderboard", width="content")
    with data.page() as store:
        board = widgets.board_of(data.require_boards(store))
        standings = Standings(store, board)
        with heading:
            unfolded = _unfolded(board)
        _table(board, standings, unfolded)
        weighted_table.show(board, standings)
        _notes(board)
        downloads.show(board)


def _table(board: Board, standings: Standings, unfolded: Sequence[str]) -> None:
    sorting = _sorting(board)
    st.markdown(finding(board, standings, rank_column(board, sorting)))
    columns = visible_columns(board, unfolded)
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
    with st.popover("More columns", icon=":material/view_column:", width="content"):
        st.pills(
            "More columns, beside the first one of their group",
            list(further),
            selection_mode="multi",
            key=key,
            format_func=lambda group: f"{group} +{len(further[group])}",
            on_change=lambda: address.put(more=",".join(st.session_state[key])),
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
    if column is not None and column.panel_at_chance:
        return f"By {plain(column_name(column))}, nothing is ranked: {plain(column.panel_at_chance)}."
    if column is None or not first:
        return "No method without a flag is ranked."
    first.sort(key=lambda row: row.metrics[column.key].rank or 0)
    name = plain(column_name(column))
    titles = [f"**{plain(row.title)}** ({plain(_value(row, column))})" for row in first]
    control = _best_control(board, column)
    if n_ranked == 1:
        return f"By {name}, only {titles[0]} is ranked: the others are flagged, lossless by construction, or lack it."
    if len(first) == 1:
        return f"By {name}, {titles[0]} is first of {n_ranked} ranked methods, beyond the errors.{control}"
    return (
        f"By {name}, {', '.join(titles[:-1])} and {titles[-1]} cannot be told apart: each may be first of {n_ranked} "
        f"ranked methods.{control}"
    )


def _best_control(board: Board, column: Column) -> str:
    """Return a sentence on the best control, as Markdown; empty if that says nothing, as for a cost."""
    values = {
        row.metrics[column.key].mean: row for row in board.rows if row.group == "control" and column.key in row.metrics
    }
    if not values or group_of(column) not in (INTERPRETABILITY, "judged"):
        return ""
    best = values[max(values) if column.direction == "higher" else min(values)]
    return f" The best control has {plain(_value(best, column))}."


def _value(row: Row, column: Column) -> str:
    unit = unit_text(column)
    mean = row.metrics[column.key].mean * (100.0 if column.unit == "fraction" else 1.0)
    return short_number(mean) + (f" {unit}" if unit else "")


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
        floors = ", ".join(f"{floor_title(floor.column.key)} {with_minus(floor_text(floor))}" for floor in board.floors)
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
