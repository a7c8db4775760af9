"""Leaderboard: all axes in one table, ranks with intervals, failed cells, notes on comparability, an aggregate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from results.app import data, downloads, flags, navigation, tables, widgets
from results.app.standings import drawn, is_candidate, mean_of, ranks_of
from results.app.titles import DIRECTIONS, floor_title, plain, visible
from results.boards.board import Board, Column, Row
from results.boards.columns import is_detail
from results.boards.families import GROUP_HEADINGS, GROUPS
from results.boards.lead_columns import GROUPS as COLUMN_GROUPS
from results.boards.lead_columns import column_name, group_of, position, unit_text
from results.boards.ranking import HEADLINE, in_order
from results.boards.uncertainty import intervals, rank_intervals
from results.boards.value_text import absent_text, board_cells, observed, sign_lines, units_with_score, value_text
from results.boards.weighted_mean import DEFAULT_WEIGHTS, SCALES, SCALES_VERSION, weighted
from results.comparison.row_errors import RowErrors

_DIGITS = 3
_MARKS = {"best": "\N{NO-BREAK SPACE}★", "second": "\N{NO-BREAK SPACE}☆", None: ""}


def render() -> None:
    """Show the page."""
    st.title("Leaderboard")
    with data.page() as store:
        board = widgets.board_of(data.require_boards(store))
        errors = RowErrors(store, board)
        columns = _columns(board)
        _table(board, columns, errors)
        _aggregate(board, errors)
        _notes(board)
        downloads.show(board)


def _columns(board: Board) -> list[Column]:
    left, middle, right = st.columns([3, 1, 1], vertical_alignment="bottom")
    with middle:
        every = st.toggle("All metrics", help="Also geometry, overlap, purity and chance levels.")
    columns = [column for column in board.columns if every or not is_detail(column)] or list(board.columns)
    present = {group_of(column) for column in columns}
    groups = [group for group in COLUMN_GROUPS if group in present]
    key = f"groups {board.backbone} {board.site} {every}"
    chosen = left.pills("Columns", groups, selection_mode="multi", default=groups, key=key)
    with right:
        first = next((c.key for metric in HEADLINE for c in board.columns if c.metric == metric), None)
        titles = {column.key: column_name(column) for column in board.columns if column.direction != "none"}
        if titles:
            widgets.select("Sort by", list(titles), "by", list(titles.values()), default=first)
    return sorted((column for column in columns if group_of(column) in (chosen or groups)), key=position)


def _table(board: Board, columns: Sequence[Column], errors: RowErrors) -> None:
    rows = _sorted(board)
    content: dict[str, list[str]] = {
        "method": [_unbroken(plain(row.title_with_flags)) for row in rows],
        "seeds": [row.cell_count for row in rows],
    }
    if units := units_with_score(rows, columns):
        content["units"] = [count.replace("-", "–") for count in units]
    for column in columns:
        kind, count = observed(rows, column)
        ranks = ranks_of(rows, column, errors)
        ranked = Counter(row.group for row, rank in zip(rows, ranks, strict=True) if rank is not None)
        content[_header(column, kind, count)] = [
            # The rank of the only ranked row of a group says nothing.
            _cell(row, column, rank if ranked[row.group] > 1 else None, observations=bool(kind) and count is None)
            for row, rank in zip(rows, ranks, strict=True)
        ]
    # A static table rather than a grid: it is readable without a mouse and can mark the best and second values. With a
    # width in pixels, however large, the method column stays visible when the rest is scrolled.
    frame = pd.DataFrame(_with_headings(content, rows))
    st.table(frame.set_index("method"), border="horizontal", width=4000)
    flags.explain((row.title, row) for row in rows)
    lines = [line for line in sign_lines(board_cells(board, columns)) if not line.startswith("best")]
    st.caption(
        "★ best, ☆ second, by the printed mean, among the rows of the group without a flag. Ranks are among the same "
        "rows, with 95 % intervals over seeded draws of all means, from the spread over seeds and the sampling within "
        "a cell. All methods share the images, so errors from their choice are drawn once for all methods. "
        + "".join(f"{plain(line)}. " for line in lines)
    )
    if board.floors:
        floors = ", ".join(
            f"{floor_title(floor.column.key)} {floor.column.text(floor.low)}"
            + (f" to {floor.column.text(floor.high)}" if floor.high != floor.low else "")
            + (f" {unit_text(floor.column)}" if unit_text(floor.column) else "")
            for floor in board.floors
        )
        st.caption(f"For comparison: {plain(floors)}.")
    navigation.method_links(rows)


def _header(column: Column, kind: str, count: int | None) -> str:
    """Return the header of a column: its name, unit and arrow, and what holds for all of its values."""
    unit = unit_text(column)
    header = f"{plain(column_name(column))}{f' ({plain(unit)})' if unit else ''}{column.arrow}"
    parts = []
    if kind:
        parts.append(f"{count} {kind}" if count is not None else f"of: {kind}")
    if column.panel_agreement is not None:
        parts.append(f"panel agreement {column.panel_agreement:.2f}")
    return f"{header} :small[{plain(', '.join(parts))}]" if parts else header


def _with_headings(content: Mapping[str, Sequence[str]], rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the columns with a line above the first row of each group after the first."""
    lines: list[int | str] = []
    for number, row in enumerate(rows):
        if row.group != GROUPS[0] and (number == 0 or rows[number - 1].group != row.group):
            lines.append(GROUP_HEADINGS[row.group])
        lines.append(number)
    return {
        name: [
            values[line] if isinstance(line, int) else f":gray[*{line}*]" if name == "method" else "" for line in lines
        ]
        for name, values in content.items()
    }


def _sorted(board: Board) -> list[Row]:
    by = st.session_state.get("chosen_by")
    column = next((c for c in board.columns if c.key == by), None)
    return list(board.rows) if column is None else in_order(board.rows, [column], column.key)


def _cell(row: Row, column: Column, rank: tuple[int, int] | None, *, observations: bool) -> str:
    aggregate = row.metrics.get(column.key)
    if aggregate is None:
        # A hyphen alone would be a bullet point.
        return absent_text(row, column).replace("-", "–")
    text = value_text(row, column, observations=observations, ranked=False)
    text = _unbroken(plain(text))
    if aggregate.mark == "best":
        text = f"**{text}**"
    if aggregate.rank is None or rank is None:
        return text
    low, high = min(rank[0], aggregate.rank), max(rank[1], aggregate.rank)
    span = "" if low == high else f" \\[{low}–{high}\\]"
    return f"{text}{_MARKS[aggregate.mark]} :small[{_unbroken(f'rank {aggregate.rank}{span}')}]"


def _unbroken(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _aggregate(board: Board, errors: RowErrors) -> None:
    # Of a metric with several columns, the first is the newest version.
    columns: dict[str, Column] = {}
    for column in board.columns:
        if column.metric in SCALES and any(column.key in row.metrics for row in board.rows):
            columns.setdefault(column.metric, column)
    if not columns:
        return
    with st.expander("Weighted aggregate"):
        weights: dict[str, float] = {}
        across = st.columns(4)
        for number, (metric, column) in enumerate(columns.items()):
            scale = SCALES[metric]
            weights[metric] = across[number % 4].slider(
                visible(column_name(column)).replace("[", "(").replace("]", ")"),
                0.0,
                1.0,
                DEFAULT_WEIGHTS.get(metric, 0.0),
                step=0.1,
                key=f"weight_{metric}",
                help=f"{DIRECTIONS[column.direction]}; {scale.worst:g} counts as 0 and {scale.best:g} as 1.",
            )
        if not any(weights.values()):
            st.info("Give at least one metric a weight above zero.")
            return
        _aggregate_table(board, columns, weights, errors)


def _aggregate_table(
    board: Board, columns: Mapping[str, Column], weights: Mapping[str, float], errors: RowErrors
) -> None:
    rows = board.rows
    means = {m: np.array([mean_of(row, column.key) for row in rows], dtype=float) for m, column in columns.items()}
    value = weighted(means, weights)
    all_draws = weighted({m: drawn(rows, column, errors) for m, column in columns.items()}, weights)
    # As everywhere, values that are printed equal are tied.
    spans, ranks = intervals(all_draws), _aggregate_ranks(rows, np.round(all_draws, _DIGITS))
    rounded = np.round(value, _DIGITS)
    last = [(GROUPS.index(row.group), bool(row.flags)) for row in rows]
    order = sorted(
        range(len(rows)),
        key=lambda number: (*last[number], np.isnan(rounded[number]), -np.nan_to_num(rounded[number])),
    )
    used = [columns[metric] for metric, weight in weights.items() if weight > 0]
    missing = [", ".join(column_name(c) for c in used if c.key not in rows[number].metrics) for number in order]
    content: dict[str, Sequence[Any]] = {
        "method": [rows[number].title_with_flags for number in order],
        "group": [rows[number].group for number in order],
        "aggregate": value[order].tolist(),
        "95 % interval": [_span(spans[number]) for number in order],
        "rank": [_rank_span(ranks[number]) for number in order],
    }
    tables.show(
        content | ({"missing": missing} if any(missing) else {}),
        "Weighted aggregate of each method.",
        column_config={"aggregate": st.column_config.NumberColumn(format=f"%.{_DIGITS}f")},
        placeholder="–",
    )
    st.caption(
        f"Weighted mean of the metrics on fixed reference scales (version {SCALES_VERSION}), which do not depend on "
        "the other methods. A method that lacks one of the metrics has no aggregate; only methods without a flag are "
        "ranked. Scales and weights are a choice, "
        "so an aggregate is not evidence."
    )


def _aggregate_ranks(rows: Sequence[Row], draws: np.ndarray) -> list[tuple[int, int] | None]:
    """Return the interval of each candidate's rank among the candidates, from draws (draws, n); None for other rows."""
    candidates = [number for number, row in enumerate(rows) if is_candidate(row)]
    ranks: list[tuple[int, int] | None] = [None] * len(rows)
    if candidates:
        for number, span in zip(candidates, rank_intervals(draws[:, candidates], larger=True), strict=True):
            ranks[number] = span
    return ranks


def _span(span: np.ndarray) -> str:
    return "–" if np.isnan(span).any() else f"{span[0]:.{_DIGITS}f} to {span[1]:.{_DIGITS}f}"


def _rank_span(rank: tuple[int, int] | None) -> str:
    return "–" if rank is None else "–".join(str(end) for end in dict.fromkeys(rank))


def _notes(board: Board) -> None:
    failed = [(row, error) for row in board.rows for error in dict.fromkeys(row.errors)]
    if failed:
        st.subheader("Failed cells")
        st.text("\n".join(visible(f"{row.title}: {error}") for row, error in failed))
    if board.notes:
        st.subheader("Notes on comparability")
        st.markdown("\n".join(f"- {plain(note)}" for note in board.notes))


if __name__ == "__main__":
    render()
