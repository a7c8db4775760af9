"""Panel beside the front: the method in focus, its numbers, and the units behind them."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from results.app import navigation, queries, widgets
from results.app.default_rows import focus_row, rival_row
from results.app.figures.front_scales import short_interval
from results.app.front_choices import FrontChoices
from results.app.gallery import gallery_of
from results.app.queries_front import best_units, finished_cell
from results.app.seed_range import is_seed_range, seed_range
from results.app.standings import Point, is_candidate
from results.app.titles import distinct, number, plain, visible
from results.boards.board import Board, Column, Row
from results.boards.lead_columns import column_name, group_of, lead_of, unit_text
from results.boards.mean_intervals import confidence_interval
from results.boards.ranking import BY_CONSTRUCTION
from results.comparison.joint_draws import N_DRAWS
from results.store import Store

PARAMETER, NOBODY = "focus", "none"
"""Parameter of the address, and its value if the panel is closed."""
# Metrics below those of the axes, if the board has them.
_FURTHER = ("ms_score_token_adjusted", "r2", "agreement", "win_rate", "fit_seconds", "encode_macs")
_MOST_NUMBERS = 5
_UNITS, _IMAGES, _TILE_PX = 3, 4, 53
_HELP = (
    "In brackets: 95 % intervals of the means; of times and memory, the range over seeds.\n\n"
    "On the front: how often no other method beats it in both metrics, if the means of all methods are drawn "
    f"{N_DRAWS} times within their errors.\n\n"
    "Win rate: share of the comparisons with units of other methods that judges decided for it."
)


def is_open() -> bool:
    """Return whether the panel is open: it is, until the reader closes it."""
    return _wanted() != NOBODY


def focus_of(board: Board) -> Row | None:
    """Return the row that the address or the session names, else that of the headline; None if the panel is closed."""
    if not is_open():
        return None
    rows = [row for row in board.rows if row.n_finished]
    named = next((row for row in rows if _wanted() in row.cell_ids), None)
    default = focus_row([board])
    return named or (default.row if default else next(iter(rows), None))


def put(cell: str) -> None:
    """Put the method of a cell into focus, from the next run of the page."""
    widgets.remember(PARAMETER, cell)


def choose(board: Board, focus: Row) -> None:
    """Let the reader choose the method in focus with the keyboard, or close the panel."""
    rows = [row for row in board.rows if row.n_finished]
    # Cells identify rows, so that a link keeps its method when another one joins the board.
    keys = [row.cell_ids[0] for row in rows]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        widgets.select(
            "Method in focus",
            keys,
            PARAMETER,
            [row.title_with_flags for row in rows],
            default=focus.cell_ids[0],
            help=_HELP,
            find=lambda cell: next((row.cell_ids[0] for row in rows if cell in row.cell_ids), None),
        )
        st.button("", icon=":material/close:", help="Close the panel", on_click=put, args=(NOBODY,), type="tertiary")


def show(store: Store, board: Board, row: Row, point: Point | None, choices: FrontChoices) -> None:
    """Show the numbers of the method in focus, its best units, and where to go from here."""
    for flag in row.flags:
        st.badge(visible(flag.name), icon=":material/flag:", color="orange", help=plain(flag.sentence))
    _numbers(row, point, choices, board.columns)
    cell_id = finished_cell(store, row.cell_ids)
    if cell_id is not None:
        with st.container(key="front_units", gap="xsmall"):
            _pictures(store, cell_id, row)
    _onwards(board, row, cell_id)


def _onwards(board: Board, row: Row, cell_id: str | None) -> None:
    """Show where to go from here."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        navigation.link("method", "Open", cell=row.cell_ids[0])
        if cell_id is not None:
            navigation.link("units", "Units", cell=cell_id)
        rival = rival_row(board, row)
        others = [other for other in board.rows if other.n_finished and other.cell_ids != row.cell_ids]
        others.sort(key=lambda other: rival is None or other.cell_ids != rival.row.cell_ids)
        if others:
            titles = distinct([other.title_with_flags for other in others])
            chosen = st.menu_button("Compare with", titles, type="tertiary", icon=":material/compare:")
            if chosen is not None:
                other = others[titles.index(chosen)]
                navigation.go("compare", a=row.cell_ids[0], b=other.cell_ids[0])


def _wanted() -> str:
    return str(st.query_params.get(PARAMETER) or st.session_state.get(f"chosen_{PARAMETER}") or "")


def _numbers(row: Row, point: Point | None, choices: FrontChoices, columns: Sequence[Column]) -> None:
    lines: dict[str, str] = {}
    for span, column in ((point.y, choices.y), (point.x, choices.x)) if point else ():
        lines[column_name(column)] = _given(row, column, _text(column, *span))
    for metric in _FURTHER:
        measured = next((c for c in columns if c.metric == metric and c.key in row.metrics), None)
        if measured is not None and len(lines) < _MOST_NUMBERS:
            lines.setdefault(column_name(measured), _value(row, measured))
    if point is not None:
        lines["on the front"] = _on_front(point, choices)
    # Without a header: the names of the numbers are in the first column.
    st.table({"": list(lines), " ": [f"**{plain(value)}**" for value in lines.values()]}, border="horizontal")


def _given(row: Row, column: Column, text: str) -> str:
    """Return a printed value, marked if it is exact because the method is lossless."""
    is_given = row.is_lossless and column.metric in BY_CONSTRUCTION and "[" not in text
    return f"{text} by construction" if is_given else text


def _value(row: Row, column: Column) -> str:
    aggregate, factor = row.metrics[column.key], 100.0 if column.unit == "fraction" else 1.0
    if is_seed_range(column):
        return _text(column, *seed_range(aggregate))
    lead = lead_of(column)
    span = None
    # The spread of another cost over seeds is no reason for another decision.
    if group_of(column) != "cost":
        span = confidence_interval(aggregate, is_share=lead is not None and lead.counted == "images")
    low, high = span or (aggregate.mean, aggregate.mean)
    return _text(column, factor * aggregate.mean, factor * low, factor * high)


def _text(column: Column, *span: float) -> str:
    unit = unit_text(column)
    return short_interval(span) + (f" {unit}" if unit else "")


def _on_front(point: Point, choices: FrontChoices) -> str:
    if "none" in (choices.x.direction, choices.y.direction):
        return "no front"
    if not is_candidate(point.row):
        return "not ranked"
    if point.share is None:
        return "yes" if point.on_front else "no"
    return f"in {100 * point.share:.0f} % of the draws"


def _pictures(store: Store, cell_id: str, row: Row) -> None:
    units = best_units(store, cell_id, _UNITS)
    cell = next(iter(queries.cells(store, [cell_id])), None)
    if not units or cell is None:
        return
    gallery = gallery_of(store, cell)
    gallery.prepare(store, units)
    st.caption("Images of its best units; MS (and by chance)")
    for unit in units:
        what = f"unit {unit['unit']} of {visible(row.title)}"
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            with st.container(width=_IMAGES * (_TILE_PX + 3)):
                gallery.show(unit, what, tile_px=_TILE_PX, columns=_IMAGES, count=_IMAGES)
            with st.container(width="content", gap=None):
                navigation.link("units", f":small[Unit {unit['unit']}]", cell=cell_id, unit=unit["unit"])
                chance = "" if unit["chance"] is None else f" ({number(unit['chance'], 2)})"
                st.caption(f"{number(unit['ms_score'], 2)}{chance}")
