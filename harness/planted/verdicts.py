"""Verdicts on metrics: for each metric and question, if the metric is valid.

A verdict rests on tests that are corrected for their number with Holm's procedure. The family is the whole report:
every gap to chance, every gap to the collapsed truth, and every rank correlation, of all metrics, questions and kinds
of layers in it, and the gap of the MS score at each layer. The probability that any verdict rests on a false rejection
is then at most :data:`ALPHA`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.planted.evidence import KINDS, QUESTIONS, RECOVERY_SCORES, Evidence, LayerResults
from harness.planted.random_level import adjusted
from harness.planted.statistics import Correlation, Gap, gap, rank_correlation
from results.comparison.intervals import holm

#: Probability of one or more false rejections in a report.
ALPHA = 0.05

#: Metric whose gap is tested at each layer too.
BY_LAYER = "ms_score"

Word = Literal[
    "believe", "truth only", "not significant", "does not separate", "wrong way", "no interval", "not measured"
]

#: Verdict -> its meaning.
WORDS: dict[Word, str] = {
    "believe": "the truth beats chance at every layer (p (Holm) < .05, intervals that do not touch), and better "
    "methods score better (p (Holm) < .05)",
    "truth only": "the truth beats chance as above, but it is not shown that better methods score better",
    "not significant": "the truth beats chance at every layer, but p (Holm) is .05 or more",
    "does not separate": "the truth does not beat chance at every layer, or their intervals touch",
    "wrong way": "chance beats the truth, or better methods score worse (p (Holm) < .05)",
    "no interval": "too few layers for a test of the gap",
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

        It must be better at every layer, significantly, with separate intervals, and by at least half of the gap to
        chance, because a single unit may be slightly worse than the mean of all. With one layer, the result is None:
        the repeated unit is arbitrary.
        """
        collapse = self.collapse
        if collapse.n < 2:
            return None
        clearly = collapse.difference.low >= 0.5 * max(self.gap.difference.value, 0.0)
        return collapse.wins == collapse.n and _is_significant(collapse) and collapse.is_apart(self.sign) and clearly

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
    by_layer: dict[str, Gap]
    """layer -> its gap of :data:`BY_LAYER`, whose interval and p are about the layer's neurons"""


def word(gap: Gap, sign: int, correlation: Correlation) -> Word:
    """Return the verdict from the gap to chance, and from the rank correlation with the question's recovery score."""
    if not gap.n or not correlation.n:
        return "not measured"
    has_order = _is_significant(correlation)
    if (_is_significant(gap) and gap.difference.value < 0) or (has_order and correlation.rho.value < 0):
        return "wrong way"
    if not gap.wins:
        return "does not separate"
    if gap.p_holm is None:
        return "no interval"
    if gap.wins == gap.n and not _is_significant(gap):
        return "not significant"
    if gap.wins < gap.n or not gap.is_apart(sign):
        return "does not separate"
    return "believe" if has_order else "truth only"


def _is_significant(tested: Gap | Correlation) -> bool:
    return tested.p_holm is not None and tested.p_holm < ALPHA


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
        by_layer = {world.name: gap([world], BY_LAYER, 1, resamples=resamples, seed=seed) for world in worlds}
        made.append(PlantedReport(kind, list(by_layer), verdicts, _recovery(worlds), by_layer))
    return corrected(made)


def corrected(reports: Sequence[PlantedReport]) -> list[PlantedReport]:
    """Return the reports with Holm's correction over all of their tests."""
    p_holm = iter(holm([tested.p for tested in tests(reports)]))
    return [
        replace(
            report,
            verdicts=[_with_p_holm(verdict, p_holm) for verdict in report.verdicts],
            by_layer={name: of_layer._replace(p_holm=next(p_holm)) for name, of_layer in report.by_layer.items()},
        )
        for report in reports
    ]


def tests(reports: Sequence[PlantedReport]) -> list[Gap | Correlation]:
    """Return all tests of the reports, the undefined ones included.

    They are, for each verdict, the gap to chance, the gap to the collapsed truth and the rank correlations, and then
    the gap at each layer.
    """
    made: list[Gap | Correlation] = []
    for report in reports:
        for verdict in report.verdicts:
            made += [verdict.gap, verdict.collapse, *verdict.correlations.values()]
        made += report.by_layer.values()
    return made


def n_tests(reports: Sequence[PlantedReport]) -> int:
    """Return the number of tests in the family: those that are defined."""
    return sum(tested.p is not None for tested in tests(reports))


def _with_p_holm(verdict: PlantedVerdict, p_holm: Iterator[float | None]) -> PlantedVerdict:
    """Return the verdict with the corrected p-values of its tests, taken in their order."""
    return replace(
        verdict,
        gap=verdict.gap._replace(p_holm=next(p_holm)),
        collapse=verdict.collapse._replace(p_holm=next(p_holm)),
        correlations={
            question: correlation._replace(p_holm=next(p_holm))
            for question, correlation in verdict.correlations.items()
        },
    )


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
    """Return method label -> recovery scores, means over the layers in which they are defined.

    The adjusted recovery is that of the means: at a layer where random units recover nearly everything, a division by
    ``1 - random`` magnifies small differences.
    """
    scores_of: dict[str, dict[str, float]] = {label: {} for world in worlds for label in world.values.index}
    for label, score in itertools.product(scores_of, RECOVERY_SCORES):
        values = [float(world.values[score].get(label, math.nan)) for world in worlds if score in world.values]
        defined = [value for value in values if not math.isnan(value)]
        if defined:
            scores_of[label][score] = sum(defined) / len(defined)
    for scores in scores_of.values():
        if {"recovery", "recovery_random"} <= scores.keys():
            scores["recovery_adjusted"] = adjusted(scores["recovery"], scores["recovery_random"])
    return scores_of
