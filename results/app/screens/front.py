"""Front: one metric against another, the Pareto line, and the share of draws in which each method is on it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from results.app import chart, data, navigation, queries, widgets
from results.app.figures.front import CELL, CLICKED, front_figure
from results.app.standings import ErrorKinds, Point, expansion_factor, points, without_errors
from results.app.titles import axis_title, column_title, plain, unit_of, visible
from results.boards.board import Board, Column, Row
from results.boards.uncertainty import N_DRAWS
from results.published.points import Published, published_points
from results.store import Store

_DEFAULT_X = ("accuracy", "agreement", "r2")
_DEFAULT_Y = ("ms_score", "ms_score_adjusted", "win_rate")


def render() -> None:
    """Show the page."""
    st.title("Pareto front")
    st.caption(
        "Which methods nobody beats in two metrics at once: at first interpretability against faithfulness, as in "
        "Figure 2 of the ELUDe paper. A click on a mark, or a link under the table, opens the method."
    )
    with data.page() as store:
        boards = data.require_boards(store)
        board = widgets.board_of(boards)
        columns = [column for column in board.columns if any(column.key in row.metrics for row in board.rows)]
        if not columns:
            st.info("No method of this board has a measurement yet: see the failed cells on the page Runs.")
            return
        left, middle, right = st.columns(3, vertical_alignment="bottom")
        with right:
            rows, columns = _filtered(store, board, columns)
        with left:
            y = _axis(columns, "Vertical axis", "y", _DEFAULT_Y, None)
        with middle:
            x = _axis(columns, "Horizontal axis", "x", _DEFAULT_X, y.key)
        if len(rows) < len(board.rows):
            st.caption(f"The filters leave {len(rows)} of {len(board.rows)} methods.")
        kinds = ErrorKinds(queries.error_kinds(store))
        found = points(rows, x, y, kinds)
        published = _published(x, y)
        if not found and not published:
            st.info("No method that is left has both metrics. Choose other axes, or fewer filters.")
            return
        _chart(found, x, y, published)
        _explain(found, x, y, without_errors(board, x, y, kinds))
        _table(found, x, y)
        _missing(rows, x, y)


def _filtered(store: Store, board: Board, columns: list[Column]) -> tuple[list[Row], list[Column]]:
    device_of = queries.devices(store)
    rows = list(board.rows)
    factors = sorted({round(factor, 2) for row in rows if (factor := expansion_factor(row)) is not None})
    devices = sorted({device_of.get(cell, "not recorded") for row in rows for cell in row.cell_ids})
    panels = sorted({column.panel for column in columns if column.panel})
    with st.popover("Filters: expansion factor, device, panel", width="stretch"):
        if len(factors) > 1:
            low, high = st.slider("Expansion factor", factors[0], factors[-1], (factors[0], factors[-1]), step=0.01)
            rows = [row for row in rows if (own := expansion_factor(row)) is None or low <= round(own, 2) <= high]
        chosen = st.multiselect("Device", devices, format_func=visible, placeholder="all devices")
        if chosen:
            rows = [row for row in rows if any(device_of.get(cell, "not recorded") in chosen for cell in row.cell_ids)]
        judged = st.multiselect("Judge panel", panels, format_func=visible, placeholder="all panels")
        if judged:
            columns = [column for column in columns if not column.panel or column.panel in judged]
    return rows, columns


def _axis(columns: Sequence[Column], label: str, key: str, preferred: Sequence[str], not_this: str | None) -> Column:
    by_key = {column.key: column for column in columns}
    order = [column.key for metric in preferred for column in columns if column.metric == metric]
    order += [column.key for column in columns if column.direction != "none"] + list(by_key)
    first = next((own for own in order if own != not_this), order[0])
    titles = [column_title(column) for column in columns]
    return by_key[widgets.select(label, list(by_key), key, titles, default=first)]


def _published(x: Column, y: Column) -> list[Published]:
    fitting = [own for own in published_points() if x.metric in own.values and y.metric in own.values]
    if not fitting:
        return []
    left, right = st.columns([1, 2], vertical_alignment="bottom")
    with left:
        shown = st.toggle("Published figures, hollow", help="From the ELUDe paper; measured on other images.")
    if not shown:
        return []
    settings = list(dict.fromkeys(own.setting for own in fitting))
    with right:
        setting = st.selectbox("Published setting", settings)
    st.caption(
        "Hollow marks are printed in the ELUDe paper and were not measured here. They take no part in the front."
    )
    return [own for own in fitting if own.setting == setting]


def _chart(found: Sequence[Point], x: Column, y: Column, published: Sequence[Published]) -> None:
    names = ", ".join(visible(point.row.title) for point in found if point.on_front) or "none"
    chosen = chart.clicked(
        front_figure(found, x, y, published),
        "front",
        f"Scatter plot of {visible(axis_title(y))} against {visible(axis_title(x))}. On the front: {names}.",
        CLICKED,
    )
    for own in chosen:
        if cell := own.get(CELL):
            navigation.go("method", cell=cell)


def _explain(found: Sequence[Point], x: Column, y: Column, bare: Sequence[str]) -> None:
    parts = [
        "Bars are 95 % intervals of the mean: the spread over seeds (Student's t) and the sampling within a cell. "
        "Area of a mark: expansion factor."
    ]
    if "none" in (x.direction, y.direction):
        without = x if x.direction == "none" else y
        parts.append(f"There is no front: neither end of {plain(column_title(without))} is the better one.")
    else:
        parts.append(
            f"Front share: how often a method is on the front in {N_DRAWS} seeded draws of all means. Errors from the "
            "choice of evaluation images, which all methods share, are drawn once for all."
        )
    if bare:
        parts.append(f"No error is known of {plain(', '.join(bare))}: drawn as exact.")
    st.caption(" ".join(parts))


def _table(found: Sequence[Point], x: Column, y: Column) -> None:
    if not found:
        return
    headers = [f"{column_title(c)}{f' ({unit_of(c)})' if unit_of(c) else ''}" for c in (y, x)]
    ordered = sorted(found, key=lambda point: (-(point.share or 0.0), not point.on_front, point.row.title))
    frame = pd.DataFrame(
        {
            "method": [visible(point.row.title) for point in ordered],
            headers[0]: [_interval(point.y, y) for point in ordered],
            headers[1]: [_interval(point.x, x) for point in ordered],
            "expansion factor": [point.factor for point in ordered],
            "seeds": [point.row.n_finished for point in ordered],
            "on the front": ["yes" if point.on_front else "no" for point in ordered],
            "front share": [None if point.share is None else 100 * point.share for point in ordered],
        }
    )
    st.dataframe(
        frame,
        hide_index=True,
        column_config={
            "expansion factor": st.column_config.NumberColumn(format="%.2f"),
            "front share": st.column_config.ProgressColumn(
                format="%.0f %%", min_value=0.0, max_value=100.0, color="blue"
            ),
        },
        placeholder="–",
        alt="The points of the chart as a table.",
    )
    with st.container(horizontal=True):
        st.text("Open:")
        for point in ordered:
            navigation.link("method", plain(point.row.title), cell=point.row.cell_ids[0])


def _interval(span: tuple[float, float, float], column: Column) -> str:
    mean, low, high = span
    text = f"{mean:.{column.digits}f}"
    return f"{text} [{low:.{column.digits}f}, {high:.{column.digits}f}]" if high > low else text


def _missing(rows: Sequence[Row], x: Column, y: Column) -> None:
    left_out = []
    for row in rows:
        lacking = [column_title(c) for c in (x, y) if c.key not in row.metrics]
        if lacking:
            why = "all its cells failed" if not row.n_finished else f"it has no {' and no '.join(lacking)}"
            left_out.append(f"{row.title} ({why})")
    if left_out:
        st.caption(f"Not shown: {plain('; '.join(left_out))}.")


if __name__ == "__main__":
    render()
