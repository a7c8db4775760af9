"""Flags of a board's rows: reasons, computed from measurements, why a row's values may mislead.

A flagged row keeps its values, but has no rank and no mark. A new flag is a function from a row and its board to a
sentence, in `_FLAGS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from results.boards.board import Aggregate, Column, Flag, Row
from results.boards.chance import PairedDifference, compared_with_chance
from results.boards.lead_columns import column_name

#: Mean overlap (Jaccard index of the top images) with the nearest unit above which units count as repeated. An index of
#: .88 is 15 of 16 images in common, so above .97 nearly all units have the same 16 images as another. Measured: .33 to
#: .58 for ELUDe, sparse autoencoders, random splits and the backbone on both demo layers; .95 for the planted truth of
#: the mixtures, whose neurons share few concepts; .994 for DNRwCV, and 1 for planted copies of one unit.
COLLAPSED_OVERLAP = 0.97
#: Mean |cos| of an atom with its nearest atom above which atoms count as repeated (an angle of 14 degrees). Measured:
#: up to .64 for all methods of the demo but DNRwCV; .94 for the planted truth; .999 for DNRwCV (1140 atoms with an
#: effective rank of 9), .982 for DNRwCV with centring (an effective rank of 35), and 1 for planted copies.
COLLAPSED_COSINE = 0.97

COLLAPSED, BELOW_FLOOR, AT_CHANCE, ONE_SEED = "collapsed", "below floor", "at chance", "one seed"


class FlagInputs(NamedTuple):
    """Measurements of a board from which flags are decided."""

    rows: Sequence[Row]
    columns: Sequence[Column]
    paired: PairedDifference | None = None
    """paired differences of two rows, for `at chance`"""


def flags_of(row: Row, inputs: FlagInputs) -> tuple[Flag, ...]:
    """Return the flags of one row of a board; none for a row without a finished cell."""
    if not row.n_finished:
        return ()
    sentences = ((name, sentence(row, inputs)) for name, sentence in _FLAGS.items())
    return tuple(Flag(name, text) for name, text in sentences if text)


def _collapsed(row: Row, inputs: FlagInputs) -> str:
    parts = []
    # Sub-units of one neuron may share images; units of different neurons are counted if the method has any.
    overlap = _measured(row, inputs.columns, "unit_overlap_across") or _measured(row, inputs.columns, "unit_overlap")
    if overlap and overlap[1].mean > COLLAPSED_OVERLAP:
        column, aggregate = overlap
        of_others = " of another neuron" if column.metric == "unit_overlap_across" else ""
        parts.append(
            f"mean overlap with the nearest unit{of_others} {_percent(column, aggregate.mean)} is above "
            f"{100 * COLLAPSED_OVERLAP:.0f} %"
        )
    cosine = _measured(row, inputs.columns, "nearest_cosine_mean")
    if cosine and cosine[1].mean > COLLAPSED_COSINE:
        parts.append(f"mean cosine with the nearest atom {cosine[1].mean:.3f} is above {COLLAPSED_COSINE:.2f}")
    return f"{' and '.join(parts)}: its units repeat each other" if parts else ""


def _below_floor(row: Row, inputs: FlagInputs) -> str:
    """Return the sentence for a row whose accuracy, or agreement if there is no accuracy, is not above its floor."""
    if row.group == "virtual":
        return ""
    for metric in ("accuracy", "agreement"):
        measured, floor = _measured(row, inputs.columns, metric), row.floors.get(f"floor_mean_{metric}")
        if measured is None or floor is None:
            continue
        column, aggregate = measured
        if column.display_value(aggregate.mean) > column.display_value(floor):
            return ""
        return (
            f"{metric} {_percent(column, aggregate.mean)} is not above the {_percent(column, floor)} of mean ablation: "
            "the layer's mean output does at least as well"
        )
    return ""


def _at_chance(row: Row, inputs: FlagInputs) -> str:
    compared = compared_with_chance(row, *inputs)
    if compared is None or compared.is_separable:
        return ""
    column, score = compared.column, compared.score
    unit = " percentage points" if column.unit == "fraction" else ""
    difference, low, high = (column.text(value) for value in (score.difference, score.low, score.high))
    start = f"{column_name(column)} minus that of {compared.control.title}, a random control with as many units, is"
    if score.single:
        # Without the spread over seeds, an interval would cover far less than 95 %: none is printed.
        has = "have" if len(score.single) > 1 else "has"
        return (
            f"{start} {difference}{unit}: not above this control by more than the errors within cells, the only known "
            f"ones, because {' and '.join(score.single)} {has} one seed with this score"
        )
    sentence = f"{start} {difference} [{low}, {high}]{unit}: not above this control"
    return f"{sentence} (from {score.basis})" if score.basis else sentence


def _one_seed(row: Row, inputs: FlagInputs) -> str:
    if row.n_seeds >= 2:
        return ""
    return "the spread over seeds is unknown; an error is that of the units or images of one seed"


_FLAGS: Mapping[str, Callable[[Row, FlagInputs], str]] = {
    COLLAPSED: _collapsed,
    BELOW_FLOOR: _below_floor,
    AT_CHANCE: _at_chance,
    ONE_SEED: _one_seed,
}


def _measured(row: Row, columns: Sequence[Column], metric: str) -> tuple[Column, Aggregate] | None:
    """Return a row's value of a metric and its column: of several, the newest version."""
    return next(((c, row.metrics[c.key]) for c in columns if c.metric == metric and c.key in row.metrics), None)


def _percent(column: Column, value: float) -> str:
    return f"{column.text(value)} %" if column.unit == "fraction" else column.text(value)
