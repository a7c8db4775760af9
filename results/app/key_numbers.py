"""Key numbers of one method: its value in each lead column of the leaderboard, with interval and rank."""

from __future__ import annotations

import streamlit as st

from results.app.board_content import capitalised, explanation, rank_spans, span_text
from results.app.column_groups import leads
from results.app.column_standing import Standings
from results.app.panels import PROXY
from results.app.seed_range import is_seed_range
from results.app.titles import plain, visible
from results.app.widgets import Choice
from results.boards.board import Column
from results.boards.lead_columns import column_name, unit_text
from results.boards.panel_kind import is_proxy
from results.short_number import short_number
from results.store import Store

_WIDTH_PX = 205


def show(store: Store, choice: Choice) -> None:
    """Show the key numbers of a row, side by side.

    Raises:
        StoreError: the store cannot be read.
    """
    board, row = choice
    columns = [column for column in leads(board).values() if column.key in row.metrics]
    if not columns:
        return
    standings = Standings(store, board)
    with st.container(horizontal=True):
        for column in columns:
            unit = unit_text(column)
            st.metric(
                _label(column),
                f"{short_number(_span(standings, choice, column)[0])}{f' {unit}' if unit else ''}",
                delta=_below(standings, choice, column),
                delta_color="off",
                delta_arrow="off",
                border=True,
                width=_WIDTH_PX,
                help=visible(explanation(board, column)) or None,
            )
    st.caption("Below each number: its 95 % interval, and its rank among the rows of its group without a flag.")


def _label(column: Column) -> str:
    """Return the name of a column, with badges of a proxy panel and of judges at chance, as Markdown."""
    name = plain(capitalised(column_name(column, with_panel=False)))
    badge = f" :orange-badge[{PROXY}]" if is_proxy(column.panel) else ""
    return f"{name}{badge}{' :red-badge[at chance]' if column.panel_at_chance else ''}"


def _span(standings: Standings, choice: Choice, column: Column) -> tuple[float, float, float]:
    index = next(index for index, row in enumerate(choice.board.rows) if row is choice.row)
    span = standings.of(column).spans[index]
    if span is None:
        raise ValueError(f"{choice.row.title} has no {column.key}")
    return span


def _below(standings: Standings, choice: Choice, column: Column) -> str:
    """Return the line below a number: its interval, and its rank among the ranked rows of its group."""
    board, row = choice
    _, low, high = _span(standings, choice, column)
    ends = [short_number(low), short_number(high)]
    if is_seed_range(column):
        text = "seeds {}–{}".format(*ends)
    else:
        text = " to ".join(ends) if ends[0] != ends[1] else "exact to these digits"
    parts = [text] if high > low else []
    spans = rank_spans(board, standings, column)
    ranked = [span for other, span in zip(board.rows, spans, strict=True) if other.group == row.group and span]
    span = next(span for other, span in zip(board.rows, spans, strict=True) if other is row)
    if span is not None and len(ranked) > 1:
        parts.append(f"rank {span_text(span)} of {len(ranked)}")
    return " · ".join(parts) or "no interval"
