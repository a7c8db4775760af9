"""Which metric can be believed for which question: a word for each, computed from intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.planted.evidence import KINDS, QUESTIONS, Evidence, World
from harness.planted.statistics import Correlation, Gap, gap, rank_correlation

Word = Literal["believe", "truth only", "does not separate", "wrong way", "no interval", "not measured"]

#: The words, and what each says.
WORDS: dict[Word, str] = {
    "believe": "truth beats chance at every layer, their intervals do not touch, and better methods score better",
    "truth only": "truth beats chance as above, but whether better methods score better is not shown",
    "does not separate": "truth and chance are not told apart at every layer, or their intervals touch",
    "wrong way": "chance beats truth, or better methods score worse: the interval lies below 0",
    "no interval": "too few layers for an interval of the gap",
    "not measured": "no value on truth and chance here, or nothing that answers the question",
}


@dataclass(frozen=True)
class Verdict:
    """One metric on one kind of layer."""

    metric: str
    sign: int
    """+1 where larger is better, -1 where smaller is"""
    gap: Gap
    collapse: Gap
    """the same with the truth collapsed in the place of chance"""
    correlations: dict[str, Correlation]
    """recovery score to its rank correlation with the metric, over methods"""

    @property
    def notices_collapse(self) -> bool | None:
        """Whether the truth scores clearly better than one of its units repeated; None: not measured.

        At every layer, with intervals apart, and by at least half of what it is better than chance by: a single unit
        may be a little worse than the mean of all. On one layer nothing is said, which unit is repeated being chance.
        """
        found = self.collapse
        if found.n < 2:
            return None
        clearly = found.difference.low >= 0.5 * max(self.gap.difference.value, 0.0)
        return found.wins == found.n and found.is_apart(self.sign) and clearly

    @property
    def words(self) -> dict[str, Word]:
        """Recovery score (a question of :data:`~harness.planted.evidence.QUESTIONS`) to the verdict on it."""
        return {question: word(self.gap, self.sign, found) for question, found in self.correlations.items()}


@dataclass(frozen=True)
class Report:
    """All verdicts on one kind of layer, and how far each method got."""

    kind: str
    worlds: list[str]
    verdicts: list[Verdict]
    recovery: dict[str, dict[str, float]]
    """method label to its recovery scores, means over layers; the truth's own row included"""


def word(gap: Gap, sign: int, correlation: Correlation) -> Word:
    """The verdict on one metric for one question.

    Args:
        gap: the metric on truth and chance.
        sign: +1 where larger is better.
        correlation: of the metric with the recovery score that answers the question.
    """
    if not gap.n or not correlation.n:
        return "not measured"
    if gap.difference.is_below_zero or correlation.rho.is_below_zero:
        return "wrong way"
    if not gap.wins:
        return "does not separate"
    if math.isnan(gap.difference.low):
        return "no interval"
    if gap.wins < gap.n or not gap.difference.is_above_zero or not gap.is_apart(sign):
        return "does not separate"
    return "believe" if correlation.rho.is_above_zero else "truth only"


def reports(evidence: Evidence, *, resamples: int = 1000, seed: int = 0) -> list[Report]:
    """The verdicts on every kind of layer that there is evidence of, in the order of ``KINDS``."""
    found = []
    for kind in KINDS:
        worlds = [world for world in evidence.worlds if world.kind == kind]
        if not worlds:
            continue
        verdicts = [
            _verdict(worlds, metric, evidence.directions[metric], resamples, seed) for metric in evidence.metrics
        ]
        found.append(Report(kind, [world.name for world in worlds], verdicts, _recovery(worlds)))
    return found


def _verdict(worlds: Sequence[World], metric: str, sign: int, resamples: int, seed: int) -> Verdict:
    return Verdict(
        metric,
        sign,
        gap(worlds, metric, sign, resamples=resamples, seed=seed),
        gap(worlds, metric, sign, against="collapsed", resamples=resamples, seed=seed),
        {
            question: rank_correlation(worlds, metric, question, sign, resamples=resamples, seed=seed)
            for question in QUESTIONS
        },
    )


def _recovery(worlds: Sequence[World]) -> dict[str, dict[str, float]]:
    labels = dict.fromkeys(label for world in worlds for label in world.values.index)
    found: dict[str, dict[str, float]] = {}
    for label in labels:
        found[label] = {}
        for score in (*QUESTIONS, "recovery_separated"):
            values = [
                float(world.values[score].get(label, math.nan)) for world in worlds if score in world.values.columns
            ]
            known = [value for value in values if not math.isnan(value)]
            if known:
                found[label][score] = sum(known) / len(known)
    return found
