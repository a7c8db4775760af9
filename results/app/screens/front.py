"""Front: one metric against another, the Pareto line, and the share of draws in which each method is on it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from results.app import chart, data, flags, headline, navigation, queries, tables, widgets
from results.app.figures.front import CELL, CLICKED, front_figure
from results.app.standings import Point, is_candidate, mean_of, points, without_errors
from results.app.titles import axis_title, plain, title_and_unit, visible
from results.boards.board import Board, Column, Row
from results.boards.lead_columns import column_name
from results.boards.ranking import HEADLINE
from results.comparison.headline import FAITHFULNESS
from results.comparison.joint_draws import N_DRAWS
from results.comparison.row_errors import RowErrors
from results.published.points import Published, published_points
from results.store import Store

_DEFAULT_X, _DEFAULT_Y = FAITHFULNESS, (*HEADLINE, "win_rate")


def render() -> None:
    """Show the page."""
    st.title("Pareto front")
    with data.page() as store:
        boards = data.require_boards(store)
        sentence = st.container()
        board = widgets.board_of(boards)
        below = _front(store, board)
        # Last, because a headline that is not cached takes seconds.
        with sentence, st.spinner("Comparing the methods", show_time=False):
            headline.show(store, board)
        with below:
            headline.show_further(store, boards, board)


def _front(store: Store, board: Board) -> DeltaGenerator:
    """Show the front of a board, and return an empty container below its chart."""
    columns = [column for column in board.columns if any(column.key in row.metrics for row in board.rows)]
    if not columns:
        st.info("No method of this board has a measurement yet. The page Runs lists the failed cells.")
        return st.container()
    left, middle, right = st.columns(3, vertical_alignment="bottom")
    with right:
        rows, columns = _filtered(store, board, columns)
    with left:
        y = _axis(columns, "Vertical axis", "y", _DEFAULT_Y, None)
    with middle:
        x = _axis(columns, "Horizontal axis", "x", _DEFAULT_X, y.key)
    if len(rows) < len(board.rows):
        st.caption(f"The filters leave {len(rows)} of {len(board.rows)} methods.")
    errors = RowErrors(store, board)
    measured = points(rows, x, y, errors)
    published = _published(x, y)
    if not measured and not published:
        st.info("No remaining method has both metrics. Choose other axes or fewer filters.")
        return st.container()
    _chart(measured, x, y, published)
    below = st.container()
    _explain(measured, x, y, *without_errors([row for row in rows if not row.flags], x, y, errors))
    _table(measured, x, y)
    flags.explain((row.title, row) for row in rows)
    _missing(rows, x, y)
    navigation.method_links(rows)
    return below


def _filtered(store: Store, board: Board, columns: list[Column]) -> tuple[list[Row], list[Column]]:
    device_of = queries.devices(store)
    rows = list(board.rows)
    factors = sorted({factor for row in rows if (factor := _factor(row)) is not None})
    devices = sorted({device_of.get(cell, "not recorded") for row in rows for cell in row.cell_ids})
    panels = sorted({column.panel for column in columns if column.panel})
    with st.popover("Filters: expansion factor, device, panel", width="stretch"):
        if len(factors) > 1:
            low, high = st.slider("Expansion factor", factors[0], factors[-1], (factors[0], factors[-1]), step=0.01)
            rows = [row for row in rows if (factor := _factor(row)) is None or low <= factor <= high]
        chosen = st.multiselect("Device", devices, format_func=visible, placeholder="all devices")
        if chosen:
            rows = [row for row in rows if any(device_of.get(cell, "not recorded") in chosen for cell in row.cell_ids)]
        judged = st.multiselect("Judge panel", panels, format_func=visible, placeholder="all panels")
        if judged:
            columns = [column for column in columns if not column.panel or column.panel in judged]
    return rows, columns


def _factor(row: Row) -> float | None:
    factor = mean_of(row, "expansion_factor")
    return None if factor is None else round(factor, 2)


def _axis(columns: Sequence[Column], label: str, key: str, preferred: Sequence[str], not_this: str | None) -> Column:
    by_key = {column.key: column for column in columns}
    order = [column.key for metric in preferred for column in columns if column.metric == metric]
    order += [column.key for column in columns if column.direction != "none"] + list(by_key)
    first = next((candidate for candidate in order if candidate != not_this), order[0])
    titles = [column_name(column) for column in columns]
    return by_key[widgets.select(label, list(by_key), key, titles, default=first)]


def _published(x: Column, y: Column) -> list[Published]:
    fitting = [entry for entry in published_points() if x.metric in entry.values and y.metric in entry.values]
    if not fitting:
        return []
    left, right = st.columns([1, 2], vertical_alignment="bottom")
    if not left.toggle("Published figures, hollow", help="From the ELUDe paper; measured on other images."):
        return []
    setting = right.selectbox("Published setting", list(dict.fromkeys(entry.setting for entry in fitting)))
    st.caption(
        "Hollow marks with names in italics are figures of the ELUDe paper. They were not measured here and are not "
        "part of the front."
    )
    return [entry for entry in fitting if entry.setting == setting]


def _chart(measured: Sequence[Point], x: Column, y: Column, published: Sequence[Published]) -> None:
    names = ", ".join(visible(point.row.title) for point in measured if point.on_front) or "none"
    chosen = chart.clicked(
        front_figure(measured, x, y, published),
        "front",
        f"Scatter plot of {visible(axis_title(y))} against {visible(axis_title(x))}. On the front: {names}.",
        CLICKED,
    )
    for row in chosen:
        if cell := row.get(CELL):
            navigation.go("method", cell=cell)


def _explain(measured: Sequence[Point], x: Column, y: Column, one_seed: Sequence[str], exact: Sequence[str]) -> None:
    parts = [
        "The front has the methods that no other method beats in both metrics at once. Click a mark or a name to open "
        "the method. Bars are 95 % intervals of the mean, from the spread over seeds (Student's t) and the sampling "
        "within a cell. The area of a mark shows the expansion factor."
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
    if not any(is_candidate(point.row) for point in measured):
        parts.append("There is no front: no method with both metrics is without a flag.")
    parts += _not_compared(measured)
    if one_seed:
        parts.append(f"One seed, so without an interval and a front share: {plain(', '.join(one_seed))}.")
    if exact:
        parts.append(f"Without an error estimate, and drawn as exact: {plain(', '.join(exact))}.")
    st.caption(" ".join(parts))


def _not_compared(measured: Sequence[Point]) -> list[str]:
    """Return sentences on the rows that are drawn, but are not part of the front."""
    sentences = []
    if any(point.row.group != "control" and not is_candidate(point.row) for point in measured):
        sentences.append(
            "Hollow grey: flagged, or virtual (its units are not part of the model); neither on the front nor counted "
            "against others."
        )
    if any(point.row.group == "control" for point in measured):
        sentences.append("Dotted lines: controls, at their vertical value; the table has the other one.")
    return sentences


def _table(measured: Sequence[Point], x: Column, y: Column) -> None:
    if not measured:
        return
    ordered = sorted(
        measured,
        key=lambda point: (not is_candidate(point.row), -(point.share or 0.0), not point.on_front, point.row.title),
    )
    tables.show(
        {
            "method": [point.row.title_with_flags for point in ordered],
            "group": [point.row.group for point in ordered],
            title_and_unit(y): [_interval(point.y, y) for point in ordered],
            title_and_unit(x): [_interval(point.x, x) for point in ordered],
            "expansion factor": [point.factor for point in ordered],
            "seeds": [point.row.cell_count for point in ordered],
            "on the front": [_is_on_front(point) for point in ordered],
            "front share": [None if point.share is None else 100 * point.share for point in ordered],
        },
        "The points of the chart as a table.",
        column_config={
            "expansion factor": st.column_config.NumberColumn(format="%.2f"),
            "front share": st.column_config.ProgressColumn(
                format="%.0f %%", min_value=0.0, max_value=100.0, color="blue"
            ),
        },
        placeholder="–",
    )


def _is_on_front(point: Point) -> str:
    return "not compared" if not is_candidate(point.row) else "yes" if point.on_front else "no"


def _interval(span: tuple[float, float, float], column: Column) -> str:
    mean, low, high = span
    text = f"{mean:.{column.digits}f}"
    return f"{text} [{low:.{column.digits}f}, {high:.{column.digits}f}]" if high > low else text


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
