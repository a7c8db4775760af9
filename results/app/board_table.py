"""Table of a board: an HTML table whose headers sort, whose names are links, and whose cells have an interval bar.

A component of this project, because `st.dataframe` draws on a canvas: it has no links within the page, no marks beside
a name and no rows that stay at the bottom (see docs/decisions). Everything that comes from a store reaches the page as
text of an element, never as HTML.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components.v2 import component

_HERE = Path(__file__)
_mount = component(
    "harness_board_table",
    html='<ul class="legend" aria-label="Legend of the table"></ul><div class="board"></div>',
    css=_HERE.with_suffix(".css").read_text(encoding="utf-8"),
    js=_HERE.with_suffix(".js").read_text(encoding="utf-8"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Badge:
    """Badge beside a name, with the sentence that explains it."""

    name: str
    sentence: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class LegendEntry:
    """Sign of the table, one of the kinds that `board_table.js` draws, and what it means."""

    kind: str
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Header:
    """Header of a column.

    Attributes:
        title: name of the column.
        key: what a click on it sorts by; empty if it cannot be sorted by.
        group: name of the columns of which it is one; equal neighbours share a heading.
        unit: unit and direction, in small letters.
        help: explanation of the column.
        ends: numbers at the ends of the bars; None if the column has no bars.
        zero: position of zero on the bars, from 0 to 1; None if it is not on them.
        badge: above the title; None without one.
    """

    title: str
    key: str = ""
    group: str = ""
    unit: str = ""
    help: str = ""
    ends: tuple[str, str] | None = None
    zero: float | None = None
    badge: Badge | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableCell:
    """Cell of a row.

    Attributes:
        text: the number.
        spoken: what follows the number for screen readers, such as its interval.
        help: tooltip, with the number in full.
        bar: positions of the low end, the mean and the high end; 0 and 1 are the ends of the scale. None without a bar.
        is_best: it has the best mean of its group.
        is_tied: its rank may be the first.
        is_given: it follows from what the method is, so it has no rank.
    """

    text: str
    spoken: str = ""
    help: str = ""
    bar: tuple[float, float, float] | None = None
    is_best: bool = False
    is_tied: bool = False
    is_given: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableRow:
    """Row of the table.

    Attributes:
        cell_id: cell that a click on the name opens.
        title: name of the method.
        link: address that the name links to.
        colour, symbol: mark of the method: a colour, and an SVG path in a square from -1 to 1.
        rank: rank or range of ranks.
        rank_help: the same in words.
    """

    cell_id: str
    title: str
    link: str
    colour: str
    symbol: str
    rank: str
    rank_help: str
    badges: Sequence[Badge]
    cells: Sequence[TableCell]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """Rows under one heading; rows of a muted section are grey."""

    heading: str
    rows: Sequence[TableRow]
    is_muted: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoardTable:
    """Content of a table.

    Attributes:
        caption: description for screen readers.
        headers: of the columns after the rank and the method.
        sections: the rows.
        sorted_by: key of the header by which the rows are sorted; empty if by none.
        order: "ascending" or "descending", of the numbers of that column.
        rank_help: explanation of the rank.
        legend: of the signs, above the table.
    """

    caption: str
    headers: Sequence[Header]
    sections: Sequence[Section]
    sorted_by: str = ""
    order: str = "descending"
    rank_help: str = ""
    legend: Sequence[LegendEntry] = ()


def show(table: BoardTable, key: str, on_sort: Callable[[str], None] | None = None) -> str | None:
    """Show the table; return the cell of a row whose name was clicked, None if there was no click.

    Args:
        table: content.
        key: key of the component.
        on_sort: called with the key of a header that was clicked; None: the headers are no buttons.
    """

    def sort() -> None:
        if on_sort is not None and (header := _text(st.session_state[key].get("sort"))):
            on_sort(header)

    data = {**dataclasses.asdict(table), "can_sort": on_sort is not None}
    result = _mount(key=key, data=data, on_sort_change=sort, on_open_change=lambda: None)
    clicked = _text(result.get("open"))
    ids = {row.cell_id for section in table.sections for row in section.rows}
    return clicked if clicked in ids else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
