"""Verdicts on metrics: for each metric and question, if the metric is valid, computed from intervals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.planted.evidence import KINDS, QUESTIONS, RECOVERY_SCORES, Evidence, LayerResults
from harness.planted.statistics import Correlation, Gap, gap, rank_correlation

Word = Literal["believe", "truth only", "does not separate", "wrong way", "no interval", "not measured"]

#: Verdict -> its meaning.
WORDS: dict[Word, str] = {
    "believe": "the truth beats chance at every layer, their intervals do not touch, and better methods score better",
    "truth only": "the truth beats chance as above, but there is no evidence that better methods score better",
    "does not separate": "the truth does not beat chance at every layer, or their intervals touch",
    "wrong way": "chance beats the truth, or better methods score worse: the interval is below 0",
    "no interval": "too few layers for an interval of the gap",
    "not measured": "no values on truth and chance, or no recovery score for the question",
}


@dataclass(frozen=True)
class PlantedVerdict:
    """Verdict on one metric for one kind of layer."""

    metric: str
    sign: int
    """+1 if larger is better, -1 if smaller is"""
    gap: Gap
    collapse: Gap
    """the same with the collapsed truth instead of chance"""
    correlations: dict[str, Correlation]
    """recovery score -> its rank correlation with the metric, over methods"""

    @property
    def notices_collapse(self) -> bool | None:
        """True if the truth scores clearly better than one of its units repeated; None if not measured.

        It must be better at every layer, with separate intervals, and by at least half of the gap to chance, because a
        single unit may be slightly worse than the mean of all. With one layer, the result is None: the repeated unit is
        arbitrary.
        """
        collapse = self.collapse
        if collapse.n < 2:
            return None
        clearly = collapse.difference.low >= 0.5 * max(self.gap.difference.value, 0.0)
        return collapse.wins == collapse.n and collapse.is_apart(self.sign) and clearly

    @property
    def words(self) -> dict[str, Word]:
        """Recovery score (a key of :data:`~harness.planted.evidence.QUESTIONS`) -> verdict for that question."""
        return {question: word(self.gap, self.sign, correlation) for question, correlation in self.correlations.items()}


@dataclass(frozen=True)
class PlantedReport:
    """Verdicts for one kind of layer, and recovery scores of each method."""

    kind: str
    worlds: list[str]
    verdicts: list[PlantedVerdict]
    recovery: dict[str, dict[str, float]]
    """method label -> recovery scores, means over layers; the truth is included"""


def word(gap: Gap, sign: int, correlation: Correlation) -> Word:
    """Return the verdict from the gap to chance, and from the rank correlation with the question's recovery score."""
    if not gap.n or not correlation.n:
        return "not measured"
    if gap.difference.high < 0 or correlation.rho.high < 0:
        return "wrong way"
    if not gap.wins:
        return "does not separate"
    if math.isnan(gap.difference.low):
        return "no interval"
    if gap.wins < gap.n or not gap.difference.low > 0 or not gap.is_apart(sign):
        return "does not separate"
    return "believe" if correlation.rho.low > 0 else "truth only"


def reports(evidence: Evidence, *, resamples: int = 1000, seed: int = 0) -> list[PlantedReport]:
    """Return one report per kind of layer with results, in the order of ``KINDS``; ``seed`` is of the resamples."""
    made = []
    for kind in KINDS:
        worlds = [world for world in evidence.worlds if world.kind == kind]
        if not worlds:
            continue
        verdicts = [
            _verdict(worlds, metric, evidence.directions[metric], resamples, seed) for metric in evidence.metrics
        ]
        made.append(PlantedReport(kind, [world.name for world in worlds], verdicts, _recovery(worlds)))
    return made


def _verdict(worlds: Sequence[LayerResults], metric: str, sign: int, resamples: int, seed: int) -> PlantedVerdict:
    return PlantedVerdict(
        metric,
        sign,
        gap(worlds, metric, sign, resamples=resamples, seed=seed),
        gap(worlds, metric, sign, against="collapsed", resamples=resamples, seed=seed),
        {
            question: rank_correlation(worlds, metric, question, sign, resamples=resamples, seed=seed)
            for question in QUESTIONS
        },
    )


def _recovery(worlds: Sequence[LayerResults]) -> dict[str, dict[str, float]]:
    """Return method label -> recovery scores, means over the layers in which they are defined."""
    scores_of: dict[str, dict[str, float]] = {label: {} for world in worlds for label in world.values.index}
    for label, score in itertools.product(scores_of, RECOVERY_SCORES):
        values = [float(world.values[score].get(label, math.nan)) for world in worlds if score in world.values]
        defined = [value for value in values if not math.isnan(value)]
        if defined:
            scores_of[label][score] = sum(defined) / len(defined)
    return scores_of
