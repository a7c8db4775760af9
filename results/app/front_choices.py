"""Choices of the front's reader, in the sidebar and in the address: axes, size of the marks, rows and filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import streamlit as st

from results.app import queries, widgets
from results.app.front_standing import DEFAULT_X, DEFAULT_Y, default_axis
from results.app.metric_words import definitions
from results.app.published_marks import published_settings
from results.app.standings import mean_of
from results.app.titles import distinct, plain
from results.boards.board import Board, Column, Row
from results.boards.flags import ONE_SEED
from results.boards.lead_columns import column_name, group_of
from results.published.points import Published
from results.store import Store

_EQUAL = "equal"
_FILTERS = _FACTOR, _DEVICE, _PANEL = "factor", "device", "panel"
FLAGGED, VIRTUAL = "flagged", "virtual"
"""Keys of the toggles in the session, and their parameters in the address."""


class FrontChoices(NamedTuple):
    """Axes, size and rows of the front that the reader has chosen."""

    x: Column
    y: Column
    size: Column | None
    rows: list[Row]
    """rows that pass the filters, drawn or not"""
    hidden: list[Row]
    """those of them that are not drawn, because they are flagged or virtual"""
    published: list[Published]


def choose(store: Store, board: Board, columns: Sequence[Column], focus: Row | None) -> FrontChoices:
    """Let the reader choose; the row in focus is always drawn."""
    axes, sizes, toggles, filters = (st.container() for _ in range(4))
    with filters:
        rows, columns = _filtered(store, board, list(columns))
    with axes:
        y = _axis(columns, "Vertical axis", "y", DEFAULT_Y, None)
        x = _axis(columns, "Horizontal axis", "x", DEFAULT_X, y.key)
    with sizes:
        size = _size(columns)
    with toggles:
        hidden = _hidden(rows, x, y, focus)
        published = _published(board, x, y)
    return FrontChoices(x, y, size, rows, hidden, published)


def show_hidden(hidden: Sequence[Row]) -> None:
    """Turn on the toggles that hide these rows; for the callback of a button."""
    for key, is_hidden in ((FLAGGED, serious_flags), (VIRTUAL, lambda row: row.group == "virtual")):
        if any(is_hidden(row) for row in hidden):
            st.session_state[key] = True


def serious_flags(row: Row) -> list[str]:
    """Return the names of the flags of a row that speak against its values: all but `one seed`."""
    return [flag.name for flag in row.flags if flag.name != ONE_SEED]


def _axis(columns: Sequence[Column], label: str, key: str, preferred: Sequence[str], not_this: str | None) -> Column:
    by_key = {column.key: column for column in columns}
    titles = [column_name(column) for column in columns]
    first = default_axis(columns, preferred, not_this)
    return by_key[widgets.select(label, list(by_key), key, titles, default=first)]


def _size(columns: Sequence[Column]) -> Column | None:
    by_key = {column.key: column for column in columns if group_of(column) == "cost" and column.unit != "fraction"}
    if not by_key:
        return None
    first = next((key for key, column in by_key.items() if column.metric == "expansion_factor"), _EQUAL)
    titles = [*(column_name(column) for column in by_key.values()), "equal"]
    help_text = "\n\n".join(
        ["The area of a mark grows with the logarithm of this cost.", *map(plain, definitions(by_key.values()))]
    )
    chosen = widgets.select("Size of a mark", [*by_key, _EQUAL], "size", titles, default=first, help=help_text)
    return by_key.get(chosen)


def _hidden(rows: Sequence[Row], x: Column, y: Column, focus: Row | None) -> list[Row]:
    """Let the reader choose whether flagged and virtual rows are drawn; return those that are not."""
    drawable = [row for row in rows if x.key in row.metrics and y.key in row.metrics]
    flagged = [row for row in drawable if serious_flags(row)]
    virtual = [row for row in drawable if row.group == "virtual"]
    marked = [row for row in drawable if row.group != "control" and row not in flagged and row not in virtual]
    # A chart with one mark compares nothing.
    is_needed = len(marked) < 2
    shows_flagged = _toggle(
        "Flagged rows",
        FLAGGED,
        is_needed,
        len(flagged),
        "Not ranked: a measurement warns of them. A row whose only flag is *one seed* is always drawn, hollow.",
    )
    shows_virtual = _toggle("Virtual rows", VIRTUAL, is_needed, len(virtual), "Their units are not part of the model.")
    hidden = [*([] if shows_flagged else flagged), *([] if shows_virtual else virtual)]
    return [row for row in drawable if row in hidden and (focus is None or row.cell_ids != focus.cell_ids)]


def _toggle(label: str, key: str, default: bool, count: int, explanation: str) -> bool:
    text = f"{explanation} This layer has {count or 'none'}."
    return st.toggle(label, default, key=key, help=text, disabled=not count, bind="query-params") and bool(count)


def _published(board: Board, x: Column, y: Column) -> list[Published]:
    settings = published_settings(board, x, y)
    help_text = "Figures of the ELUDe paper, measured on other images: hollow, with names in italics."
    if not settings.entries:
        help_text += " It has none of these two metrics."
    elif not settings.same_backbone:
        help_text += " It has none of this backbone; those of others are for orientation only."
    is_on = st.toggle(
        "Published figures",
        bool(settings.same_backbone),
        key="published",
        help=help_text,
        disabled=not settings.entries,
        bind="query-params",
    )
    if not is_on or not settings.entries:
        return []
    names = list(settings.entries)
    return settings.entries[widgets.select("Published setting", names, "setting", names)]


def _filtered(store: Store, board: Board, columns: list[Column]) -> tuple[list[Row], list[Column]]:
    """Let the reader leave out rows and columns."""
    rows = list(board.rows)
    is_used = any(key in st.query_params for key in _FILTERS)
    folded = st.expander("Filters", is_used, icon=":material/filter_alt:", on_change="rerun")
    # The widgets are loaded when they are needed: a browser takes longer for a slider than for the chart.
    if not is_used and not folded.open:
        return rows, columns
    device_of = queries.devices(store)
    factors = sorted({factor for row in rows if (factor := _factor(row)) is not None})
    devices = sorted({device_of.get(cell, "not recorded") for row in rows for cell in row.cell_ids})
    panels = sorted({column.panel for column in columns if column.panel})
    with folded:
        if len(factors) > 1:
            ends = factors[0], factors[-1]
            low, high = st.slider("Expansion factor", *ends, ends, step=0.01, key=_FACTOR, bind="query-params")
            rows = [row for row in rows if (factor := _factor(row)) is None or low <= factor <= high]
        if chosen := _several("Device", _DEVICE, devices):
            rows = [row for row in rows if any(device_of.get(cell, "not recorded") in chosen for cell in row.cell_ids)]
        if judged := _several("Judge panel", _PANEL, panels):
            columns = [column for column in columns if not column.panel or column.panel in judged]
        if len(rows) < len(board.rows):
            st.caption(f"The filters leave {len(rows)} of {len(board.rows)} methods.")
        elif len(factors) < 2 and len(devices) < 2 and len(panels) < 2:
            st.caption("All rows have the same expansion factor and device.")
    return rows, columns


def _several(label: str, key: str, options: Sequence[str]) -> list[str]:
    """Let the reader choose some options; none of them is no choice."""
    if len(options) < 2:
        return []
    by_title = dict(zip(distinct(options), options, strict=True))
    chosen = st.multiselect(label, list(by_title), key=key, placeholder="all", bind="query-params")
    return [by_title[title] for title in chosen]


def _factor(row: Row) -> float | None:
    factor = mean_of(row, "expansion_factor")
    return None if factor is None else round(factor, 2)
