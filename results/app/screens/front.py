"""Front: which method is best, at what cost, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from results.app import (
    chart,
    data,
    flags,
    front_choices,
    front_focus,
    front_layers,
    front_share,
    front_table,
    headline,
    widgets,
)
from results.app.default_rows import headline_rows
from results.app.figures.front import CELL, CLICKED, Look, front_figure
from results.app.front_choices import FrontChoices
from results.app.front_standing import Standing, measured_columns, standing
from results.app.metric_words import definitions
from results.app.queries_front import extent
from results.app.standings import Point, is_candidate
from results.app.titles import axis_title, plain, visible
from results.boards.board import Board, Column, Row
from results.boards.flags import AT_CHANCE
from results.boards.lead_columns import column_name
from results.comparison.joint_draws import N_DRAWS
from results.store import Store


def render() -> None:
    """Show the page."""
    with data.page() as store:
        boards = data.require_boards(store)
        with st.sidebar:
            board = widgets.choose_board(boards, stacked=True)
        with st.container(key="front_title"):
            share = _title(store, board)
        widgets.warned(board)
        sentence = st.container(key="front_headline")
        families = {row.method: row.family for other in boards for row in other.rows}
        choices = _front(store, board, families, share)
        # After the chart, because a headline that is not cached takes seconds.
        with sentence, st.skeleton(48):
            headline.show(store, board)
        headline.show_further(store, boards, board)
        if choices is not None:
            with st.container(key="front_layers"):
                front_layers.show(store, boards, board, choices.x, choices.y, families)


def _title(store: Store, board: Board) -> DeltaGenerator:
    """Show what is compared: the layer, the methods, the images and the seeds; return the place at its right end."""
    st.title(f"{plain(board.backbone_title)} · {plain(board.site)}", anchor=False)
    size = extent(store, board)
    n_methods = sum(row.group != "control" for row in board.rows)
    parts = [f"{_counted(n_methods, 'method')} and {_counted(len(board.rows) - n_methods, 'control')}"]
    if size.images:
        parts.append(_counted(size.images, "evaluation image") + (f" of {board.dataset}" if board.dataset else ""))
    elif board.dataset:
        parts.append(f"image set {board.dataset}")
    if size.token_seeds:
        parts.append(_counted(size.token_seeds, "token seed"))
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="front_extent"):
        with st.container():
            st.caption(" · ".join(map(plain, parts)))
        return st.container(width="content")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _front(
    store: Store, board: Board, families: Mapping[str, str | None], share: DeltaGenerator
) -> FrontChoices | None:
    """Show the front of a board, and the buttons that share it; None if it has no measurement to plot."""
    columns = measured_columns(board)
    if not columns:
        st.info("No method of this board has a measurement yet. The page Runs lists the failed cells.")
        return None
    focus = front_focus.focus_of(board)
    with st.sidebar:
        choices = front_choices.choose(store, board, columns, focus)
    every = standing(store, board, choices.rows, choices.x, choices.y)
    # Flagged and virtual rows change nothing for the others, drawn or not.
    hidden = {row.cell_ids for row in choices.hidden}
    drawn = [point for point in every.points if point.row.cell_ids not in hidden]
    with st.container(horizontal=True, gap="medium", key="front_body"):
        plot = st.container(key="front_plot")
        panel = st.container(key="front_panel", width=300) if focus is not None else None
    with plot:
        if drawn or choices.published:
            _chart(drawn, choices, Look(choices.size, focus, headline_rows(board), families=families))
        else:
            st.info("No remaining method has both metrics. Choose other axes or fewer filters.")
        _below_the_plot(drawn, choices, board, focus)
    if panel is not None and focus is not None:
        with panel:
            front_focus.choose(board, focus)
            point = next((point for point in every.points if point.row.cell_ids == focus.cell_ids), None)
            front_focus.show(store, board, focus, point, choices)
    with share:
        front_share.show(front_table.csv(every.points, choices.x, choices.y), "front")
    _details(every, choices)
    return choices


def _chart(measured: Sequence[Point], choices: FrontChoices, look: Look) -> None:
    x, y = choices.x, choices.y
    names = ", ".join(visible(point.row.title) for point in measured if point.on_front) or "none"
    chart.show_clickable(
        front_figure(measured, x, y, choices.published, look),
        "front",
        f"Scatter plot of {visible(axis_title(y))} against {visible(axis_title(x))}. On the front: {names}.",
        CLICKED,
        _focus_clicked,
    )


def _focus_clicked(row: Mapping[str, Any]) -> None:
    # A published mark has no cell, and opens nothing.
    if cell := row.get(CELL):
        front_focus.put(str(cell))


def _below_the_plot(drawn: Sequence[Point], choices: FrontChoices, board: Board, focus: Row | None) -> None:
    """Define the metrics, name the rows that are not drawn, and offer what is closed."""
    meanings = definitions((choices.y, choices.x))
    if meanings:
        with st.container(key="front_meanings"):
            st.caption(plain(f"{'. '.join(meanings)}."))
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if choices.hidden:
            count = f"{_counted(len(choices.hidden), 'row')} hidden"
            names = ", ".join(f"{row.title} ({', '.join(_reasons(row))})" for row in choices.hidden)
            st.caption(f"{count}: {plain(names)}.", width="content")
            st.button("Show", type="tertiary", on_click=front_choices.show_hidden, args=(choices.hidden,))
        if any(point.row.group != "control" and not is_candidate(point.row) for point in drawn):
            st.caption("Hollow: not ranked, for the reason in brackets.", width="content")
        if choices.published:
            st.caption("Italic: figures of the ELUDe paper, not measured here, not part of the front.", width="content")
        if focus is None and board.rows:
            st.button("Show the method panel", type="tertiary", on_click=front_focus.put, args=("",))
    _missing(choices.rows, choices.x, choices.y)


#: Flags whose names say too little.
_IN_WORDS = {AT_CHANCE: "at chance: not above its random control"}


def _reasons(row: Row) -> list[str]:
    flags_of_row = [_IN_WORDS.get(name, name) for name in front_choices.serious_flags(row)]
    return [*flags_of_row, *(["virtual"] if row.group == "virtual" else [])]


def _details(every: Standing, choices: FrontChoices) -> None:
    """Show the values behind the plot, and how to read it."""
    front_table.show(every.points, choices.x, choices.y)
    with st.expander("How to read the plot", icon=":material/help:"):
        _explain(every, choices.x, choices.y)
    flags.explain((row.title, row) for row in choices.rows)


def _explain(every: Standing, x: Column, y: Column) -> None:
    parts = [
        "The front has the methods that no other method beats in both metrics at once. Click a mark or a name to see "
        "the method beside the plot. Lines through marks are 95 % intervals of the mean, from the spread over seeds "
        "(Student's t) and the sampling within a cell; those of times and memory are ranges over seeds. They are thick "
        "for the methods of the headline and for the one in focus; point at another mark to see its own. The more "
        "opaque a mark, the more often its method is on the front. Its outline is dark if it is on the front now."
    ]
    if "none" in (x.direction, y.direction):
        without = x if x.direction == "none" else y
        parts.append(f"There is no front: {plain(column_name(without))} has no direction.")
    else:
        parts.append(
            f"Front share: share of {N_DRAWS} seeded draws of all means in which a method is on the front. All methods "
            "share the evaluation images, and splits share the neurons, so errors from their choice are drawn once for "
            "all methods."
        )
    if not any(is_candidate(point.row) for point in every.points):
        parts.append("There is no front: no method with both metrics is without a flag.")
    parts += _not_compared(every.points)
    if every.one_seed:
        parts.append(f"One seed, so without an interval and a front share: {plain(', '.join(every.one_seed))}.")
    if every.exact:
        parts.append(f"Without an error estimate, and drawn as exact: {plain(', '.join(every.exact))}.")
    st.caption(" ".join(parts))


def _not_compared(measured: Sequence[Point]) -> list[str]:
    """Return sentences on the rows that are drawn, but are not part of the front."""
    sentences = []
    if any(point.row.group != "control" and not is_candidate(point.row) for point in measured):
        sentences.append(
            "Hollow grey: flagged, virtual (its units are not part of the model) or with one seed (no interval); "
            "neither on the front nor counted against others."
        )
    if any(point.row.group == "control" for point in measured):
        sentences.append("Dotted lines: controls, at their vertical value; the table has the other one.")
    return sentences


def _missing(rows: Sequence[Row], x: Column, y: Column) -> None:
    left_out = []
    for row in rows:
        lacking = [column_name(c) for c in (x, y) if c.key not in row.metrics]
        if lacking:
            why = "all its cells failed" if not row.n_finished else f"it has no {' and no '.join(lacking)}"
            left_out.append(f"{row.title} ({why})")
    if left_out:
        st.caption(f"Not shown: {plain('; '.join(left_out))}.")


if __name__ == "__main__":
    render()
