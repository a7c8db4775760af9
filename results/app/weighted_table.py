"""Weighted score on the leaderboard: presets, three sliders, a table, and how certain the first place is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import streamlit as st

from results.app import address, board_table, navigation
from results.app.bar_scale import BarScale
from results.app.board_content import NONE, RankText, capitalised, sections, span_text
from results.app.board_table import BoardTable, Header, TableCell
from results.app.column_standing import Standings
from results.app.titles import plain, title_and_unit, visible
from results.boards.board import Board, Column, Row
from results.boards.reference_scales import SCALES_VERSION
from results.boards.weights import AXES, PRESETS, axes_of
from results.comparison.joint_draws import N_DRAWS
from results.comparison.weighted_score import WeightedScores, controls_above, lacking, weighted_scores
from results.minus_sign import with_minus
from results.reports.weighted_score import scale_text, share_text, without_a_score
from results.short_number import short_number

_SCALE = BarScale(0.0, 100.0)
_ENDS = ("0", "100")
#: Axis -> its name, of which more is better.
_AXIS_NAMES: Mapping[str, str] = {
    "interpretability": "interpretability",
    "faithfulness": "faithfulness",
    "cost": "low cost",
}
#: Share below which a row is not named as a possible first.
_RARE = 0.01


def show(board: Board, standings: Standings) -> None:
    """Show the weighted score of a board; nothing if fewer than two axes are measured."""
    columns = axes_of(board)
    if len(columns) < 2:
        return
    st.header("Weighted score", anchor=False)
    sentence = st.container()
    weights = _weights(columns)
    if not any(weights.values()):
        st.info("Give at least one axis a weight above zero.")
        return
    draws = {axis: standings.of(column).draws for axis, column in columns.items()}
    scores = weighted_scores(board.rows, columns, draws, weights)
    with sentence:
        st.markdown(certainty(board.rows, scores))
        if sensitive := sensitivity(board.rows, scores):
            st.markdown(sensitive)
        if better := above(board.rows, scores):
            st.markdown(better)
    if clicked := board_table.show(_table(board.rows, columns, weights, scores), "weighted"):
        navigation.go("method", cell=clicked)
    _legend(columns)
    without = [(row, names) for row in board.rows if (names := lacking(row, columns, weights))]
    if without:
        texts = [f"{titles} (no {names})" for names, titles in without_a_score(without)]
        st.caption(f"Without a score, because a metric with a weight is missing: {plain('; '.join(texts))}.")


def _weights(columns: Mapping[str, Column]) -> dict[str, float]:
    """Let the reader choose the weights of the axes, by a preset or one by one."""
    axes = list(columns)
    keys = [f"weight {axis}" for axis in axes]
    current = _read(axes)
    for key, weight in zip(keys, current, strict=True):
        if st.session_state.get(key) != weight:
            st.session_state[key] = weight
    presets = {name: _of_axes(preset, axes) for name, preset in PRESETS.items()}
    named = next((name for name, preset in presets.items() if preset == current), None)
    if st.session_state.get("preset") != named:
        st.session_state["preset"] = named

    def take_preset() -> None:
        if name := st.session_state["preset"]:
            address.put(weights=_text(presets[name]))

    def take_sliders() -> None:
        address.put(weights=_text([st.session_state[key] for key in keys]))

    st.pills("Weights", list(presets), key="preset", on_change=take_preset, label_visibility="collapsed")
    places = st.columns(len(axes), gap="medium")
    for place, axis, key, column in zip(places, axes, keys, columns.values(), strict=True):
        with place:
            st.slider(
                f"Weight of {_AXIS_NAMES[axis]}",
                0.0,
                1.0,
                step=0.1,
                format="%.1f",
                key=key,
                on_change=take_sliders,
                help=plain(f"Measured by {visible(title_and_unit(column))}."),
            )
    return dict(zip(axes, current, strict=True))


def _read(axes: Sequence[str]) -> list[float]:
    """Return the weights in the address, or the first preset if they are no weights of these axes."""
    try:
        weights = [float(part) for part in address.get("weights").split(",")]
    except ValueError:
        weights = []
    if len(weights) == len(axes) and all(0 <= weight <= 1 for weight in weights):
        return weights
    return _of_axes(next(iter(PRESETS.values())), axes)


def _of_axes(preset: Sequence[float], axes: Sequence[str]) -> list[float]:
    return [weight for weight, axis in zip(preset, AXES, strict=True) if axis in axes]


def _text(weights: Sequence[float]) -> str:
    return ",".join(f"{weight:.1f}" for weight in weights)


def certainty(rows: Sequence[Row], scores: WeightedScores) -> str:
    """Return the sentences on the first place, with these weights and with any, as Markdown."""
    firsts = _firsts(scores.first)
    if not firsts:
        return "No method without a flag has a score with a known error, so no place is certain."
    text = f"With these weights **{_listed(rows, firsts, scores.first)}** of {N_DRAWS} draws of all means"
    at_random = _firsts(scores.first_at_random)
    if at_random:
        text += f"; with weights drawn at random, too, {_listed(rows, at_random, scores.first_at_random)}"
    return f"{text}."


def sensitivity(rows: Sequence[Row], scores: WeightedScores) -> str:
    """Return the sentence on the weights that would make another method first by its mean, as Markdown."""
    shares = np.nan_to_num(scores.weight_shares, nan=0.0)
    if not shares.any():
        return ""
    best = int(np.argmax(shares))
    text = f"Of all weights, {share_text(shares[best])} % make {plain(rows[best].title)} first by its means"
    if scores.nearest is None:
        return f"{text}; no change of the weights makes another method first." if shares[best] == 1 else f"{text}."
    changed = ", ".join(f"{_AXIS_NAMES[axis]} {100 * weight:.0f} %" for axis, weight in scores.nearest.weights.items())
    return (
        f"{text}. {plain(rows[scores.nearest.row].title)} becomes first if {share_text(scores.nearest.distance)} % of "
        f"the weight moves, to {changed}."
    )


def above(rows: Sequence[Row], scores: WeightedScores) -> str:
    """Return a sentence on the controls whose score is higher than that of the first method; empty without any."""
    better = [f"{plain(rows[n].title)} ({short_number(scores.values[n])})" for n in controls_above(rows, scores)]
    return f"Controls with a higher score, so these weights reward doing little: {', '.join(better)}." if better else ""


def _firsts(shares: np.ndarray) -> list[int]:
    """Return the rows that may be first, the most frequent one first."""
    filled = np.nan_to_num(shares, nan=-1.0)
    return [int(number) for number in np.argsort(-filled, kind="stable") if filled[number] >= _RARE]


def _listed(rows: Sequence[Row], numbers: Sequence[int], shares: np.ndarray) -> str:
    """Return "A is first in 70 %, B in 30 %" of at most four rows."""
    first, *others = numbers[:4]
    parts = [f"{plain(rows[first].title)} is first in {_percent(shares[first])}"]
    return ", ".join([*parts, *(f"{plain(rows[number].title)} in {_percent(shares[number])}" for number in others)])


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _table(
    rows: Sequence[Row], columns: Mapping[str, Column], weights: Mapping[str, float], scores: WeightedScores
) -> BoardTable:
    headers = [
        Header(title="Score", unit="0 to 100 ↑", help="Weighted mean of the axes", ends=_ENDS, zero=0.0),
        Header(
            title="First in", unit="% of draws", help="Share of the draws in which the method is first by these weights"
        ),
        Header(title="Any weights", unit="% of draws", help="The same with weights that are drawn at random, too"),
        Header(
            title="To be first",
            unit="% of weight",
            help="Smallest share of the weight that has to move from some axes to others to make the method first",
        ),
    ]
    headers += [
        Header(
            title=capitalised(_AXIS_NAMES[axis]),
            unit=f"weight {weights[axis]:.1f}",
            help=visible(title_and_unit(column)),
        )
        for axis, column in columns.items()
    ]
    cells = [
        [
            _score_cell(scores.values[number], scores.spans[number]),
            _share_cell(scores.first[number]),
            _share_cell(scores.first_at_random[number]),
            _change_cell(scores.changes[number]),
            *(_axis_cell(scores.positions[axis][number]) for axis in columns),
        ]
        for number in range(len(rows))
    ]
    values = np.round(scores.values, 2)
    scored = [number for number in range(len(rows)) if not np.isnan(values[number])]
    order = sorted(scored, key=lambda number: (-values[number], rows[number].title))
    ranks = [RankText(NONE, "") if span is None else RankText(span_text(span), "") for span in scores.ranks]
    return BoardTable(
        caption="Weighted score of each method.",
        headers=headers,
        sections=sections(rows, order, ranks, cells),
        rank_help="Range of the rank by the score, among the methods without a flag",
    )


def _score_cell(value: float, span: np.ndarray) -> TableCell:
    low, high = (value, value) if np.isnan(span).any() else span
    interval = f"{short_number(low)} to {short_number(high)}" if high > low else ""
    return TableCell(
        text=short_number(float(value)),
        spoken=f"({interval})" if interval else "",
        help=f"{value:.6g}; 95 % interval {interval}" if interval else f"{value:.6g}; no interval",
        bar=(_SCALE.position(low), _SCALE.position(value), _SCALE.position(high)),
    )


def _share_cell(share: float) -> TableCell:
    return TableCell(text=NONE if np.isnan(share) else f"{100 * share:.0f}")


def _change_cell(change: float) -> TableCell:
    if np.isinf(change):
        return TableCell(text="never", help="No weights of these axes make it first")
    return TableCell(text=NONE if np.isnan(change) else share_text(change))


def _axis_cell(position: float) -> TableCell:
    return TableCell(text=NONE if np.isnan(position) else short_number(float(position)))


def _legend(columns: Mapping[str, Column]) -> None:
    scales = "; ".join(
        f"{_AXIS_NAMES[axis]}: {plain(with_minus(scale_text(title_and_unit(column), column)))}"
        for axis, column in columns.items()
    )
    st.caption(
        f"The score is the weighted mean of the axes on fixed scales (version {SCALES_VERSION}), which do not depend "
        f"on the other methods. {capitalised(scales)}. A draw takes all means anew within their errors. Only methods "
        "without a flag are ranked. Scales and weights are a choice: a score is no evidence."
    )
