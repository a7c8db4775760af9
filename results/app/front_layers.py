"""The same front for every layer of the store, as small plots with equal axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from results.app import chart, data, navigation
from results.app.figures.front import Look, front_figure, front_ranges
from results.app.front_choices import serious_flags
from results.app.front_standing import standing
from results.app.headline_words import lead_sentence
from results.app.standings import Point
from results.app.titles import axis_title, plain, visible
from results.boards.board import Board, Column, Row
from results.store import Store

_HEIGHT_PX = 230
_ACROSS = 3


def show(
    store: Store,
    boards: Sequence[Board],
    board: Board,
    x: Column,
    y: Column,
    families: Mapping[str, str | None],
) -> None:
    """Show the fronts of all boards that have both metrics, if there are several; `board` is the chosen one."""
    matched = ((other, (x, y) if other is board else _columns(other, x, y)) for other in boards)
    layers = [(other, axes) for other, axes in matched if axes is not None]
    if len(layers) < 2:
        return
    st.header("All layers", anchor=False)
    st.caption("The same two metrics on equal axes. Named: methods on the front. Dotted lines: controls.")
    measured = [standing(store, other, _drawn(other, *axes), *axes).points for other, axes in layers]
    ranges = front_ranges([point for points in measured for point in points], {"x": x, "y": y})
    look = Look(height_px=_HEIGHT_PX, is_small=True, families=families, ranges=ranges)
    across = min(_ACROSS, len(layers))
    slots = [slot for _ in range(0, len(layers), across) for slot in st.columns(across)][: len(layers)]
    for number, (slot, (other, axes), points) in enumerate(zip(slots, layers, measured, strict=True)):
        with slot:
            _layer(store, other, points, axes, look, f"layer_{number}", is_chosen=other is board)


def _layer(
    store: Store,
    board: Board,
    points: Sequence[Point],
    axes: tuple[Column, Column],
    look: Look,
    key: str,
    *,
    is_chosen: bool,
) -> None:
    title = f"{plain(board.backbone_title)} · {plain(board.site)}"
    with st.container(key=f"front_layer_{key}", vertical_alignment="bottom"):
        if is_chosen:
            st.markdown(f"**{title}**")
        else:
            navigation.link("front", title, backbone=board.backbone, site=board.site, x=axes[0].key, y=axes[1].key)
    names = ", ".join(visible(point.row.title) for point in points if point.on_front) or "none"
    said = f"{visible(board.layer_title)}: {visible(axis_title(axes[1]))} against {visible(axis_title(axes[0]))}."
    chart.show(front_figure(points, *axes, look=look), key, f"{said} On the front: {names}.")
    content = data.headline_of(store, board)
    if content is not None:
        st.caption(plain(lead_sentence(content.contrasts[0])))


def _columns(board: Board, x: Column, y: Column) -> tuple[Column, Column] | None:
    """Return the board's columns of the same two metrics; None if it lacks one."""
    matches = [next((c for c in board.columns if _is_same(c, wanted)), None) for wanted in (x, y)]
    return (matches[0], matches[1]) if matches[0] is not None and matches[1] is not None else None


def _is_same(column: Column, wanted: Column) -> bool:
    return (column.metric, column.version, column.params) == (wanted.metric, wanted.version, wanted.params)


def _drawn(board: Board, x: Column, y: Column) -> list[Row]:
    """Return the rows of a small plot: without those that are flagged or virtual, if two methods are left."""
    rows = [row for row in board.rows if x.key in row.metrics and y.key in row.metrics]
    sound = [row for row in rows if not serious_flags(row) and row.group != "virtual"]
    return sound if sum(row.group == "method" for row in sound) > 1 else rows
