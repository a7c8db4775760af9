"""Leaderboard: all axes in one table, ranks with intervals, failed cells, notes on comparability, an aggregate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from results.app import data, downloads, navigation, tables, widgets
from results.app.standings import drawn, mean_of, printed
from results.app.titles import (
    AXES,
    DIRECTIONS,
    axis_of,
    column_title,
    floor_title,
    plain,
    unit_of,
    value_text,
    visible,
)
from results.boards.board import Board, Column, Row
from results.boards.uncertainty import intervals, rank_intervals
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
    present = {axis_of(column) for column in board.columns}
    axes = [axis for axis in AXES if axis in present]
    left, right = st.columns([3, 1])
    key = f"axes {board.backbone} {board.site}"
    chosen = left.pills("Axes", axes, selection_mode="multi", default=axes, key=key)
    with right:
        first = next((c.key for c in board.columns if c.metric == "ms_score"), None)
        titles = {column.key: column_title(column) for column in board.columns if column.direction != "none"}
        if titles:
            widgets.select("Sort by", list(titles), "by", list(titles.values()), default=first)
    visible_columns = [column for column in board.columns if axis_of(column) in (chosen or axes)]
    return sorted(visible_columns, key=lambda column: axes.index(axis_of(column)))


def _table(board: Board, columns: Sequence[Column], errors: RowErrors) -> None:
    rows = _sorted(board)
    content: dict[str, list[str]] = {
        "method": [_unbroken(plain(row.title)) for row in rows],
        "cells": [_cells(row) for row in rows],
    }
    for column in columns:
        ranks: Sequence[tuple[int, int] | None] = [None] * len(rows)
        if column.direction != "none":
            ranks = rank_intervals(printed(drawn(rows, column, errors), column), larger=column.direction == "higher")
        header = f"{plain(column_title(column))} {f'({plain(unit_of(column))})' if unit_of(column) else ''}"
        arrow = {"higher": "↑", "lower": "↓", "none": ""}[column.direction]
        content[f"{header} {arrow}"] = [_cell(row, column, rank) for row, rank in zip(rows, ranks, strict=True)]
    # A static table rather than a grid: it is readable without a mouse and can mark the best and second values. With a
    # width in pixels, however large, the method column stays visible when the rest is scrolled.
    st.table(pd.DataFrame(content).set_index("method"), border="horizontal", width=4000)
    st.caption(
        "Mean ± standard error over the finished cells (one per token and init seed). "
        "★ best, ☆ second, among methods without a flag. "
        "↑ higher is better, ↓ lower is better. Ranks have 95 % intervals over seeded draws of all "
        "means, from the spread over seeds and the sampling within a cell. All methods share the images, so errors "
        "from their choice are drawn once for all methods. A row with one seed has no interval: its spread is unknown."
    )
    if board.floors:
        floors = ", ".join(
            f"{floor_title(floor.column.key)} {floor.column.text(floor.low)}"
            + (f" to {floor.column.text(floor.high)}" if floor.high != floor.low else "")
            + (f" {unit_of(floor.column)}" if unit_of(floor.column) else "")
            for floor in board.floors
        )
        st.caption(f"For comparison: {plain(floors)}.")
    navigation.method_links(rows)


def _sorted(board: Board) -> list[Row]:
    by = st.session_state.get("chosen_by")
    column = next((c for c in board.columns if c.key == by), None)
    if column is None:
        return list(board.rows)
    sign = 1.0 if column.direction == "lower" else -1.0

    def position(row: Row) -> tuple[bool, float, str]:
        mean = mean_of(row, column.key)
        return mean is None, sign * (mean or 0.0), row.title

    return sorted(board.rows, key=position)


def _cells(row: Row) -> str:
    return f"{row.n_finished} of {row.n_finished + row.n_failed}" if row.n_failed else str(row.n_finished)


def _cell(row: Row, column: Column, rank: tuple[int, int] | None) -> str:
    aggregate = row.metrics.get(column.key)
    if aggregate is None:
        return value_text(row, column)
    text = _unbroken(plain(value_text(row, column)))
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
                visible(column_title(column)).replace("[", "(").replace("]", ")"),
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
    spans, ranks = intervals(all_draws), rank_intervals(np.round(all_draws, _DIGITS), larger=True)
    rounded = np.round(value, _DIGITS)
    order = np.argsort(np.where(np.isnan(rounded), np.inf, -rounded), kind="stable")
    used = [columns[metric] for metric, weight in weights.items() if weight > 0]
    missing = [", ".join(column_title(c) for c in used if c.key not in rows[number].metrics) for number in order]
    content: dict[str, Sequence[Any]] = {
        "method": [rows[number].title for number in order],
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
        "the other methods. A method that lacks one of the metrics has no aggregate. Scales and weights are a choice, "
        "so an aggregate is not evidence."
    )


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
