"""Verdicts on metrics as tables and as JSON."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from harness.planted.evidence import KINDS, QUESTIONS, RECOVERY_SCORES
from harness.planted.statistics import Gap, ValueWithInterval
from harness.planted.verdicts import ALPHA, BY_LAYER, WORDS, PlantedReport, PlantedVerdict, n_tests
from results.tables import Table

#: Note under the recovery of each method.
ADJUSTED = (
    "adjusted: (recovery - random) / (1 - random), where random is the recovery of random units with the counts of the "
    "method's own. 0 is chance, and negative is worse than chance."
)

#: Note under every summary: the quantities that the intervals redraw.
REDRAWN = (
    "95 % intervals. Gap, metrics with one value per unit: neurons redrawn ({resamples} bootstrap resamples), plus the "
    "variance of layers beyond them; with one value per layer: Student's t over layers of each setting. Rank "
    "correlation: methods redrawn with all their configurations, the same ones at every layer. Settings are not "
    "redrawn."
)

#: Note under every summary: the correction for the number of tests.
FAMILY = (
    "p (Holm): corrected over the {n} tests of this report: gaps to chance, gaps to the collapsed truth, and rank "
    "correlations with each recovery score, of all metrics and all kinds of layers, and the MS score at each layer. "
    "Intervals are not corrected."
)

#: Note for mixtures: some metrics are not designed for these questions.
VARIETY = (
    "In mixtures every concept is in several neurons, so the true parts repeat each other. There, effective rank, "
    "collinearity and overlap measure if units differ, not if they are right."
)

#: Verdicts with a column in the summary, strongest first.
_SUMMARY_WORDS = ("believe", "truth only", "not significant", "wrong way")


def tables(reports: Sequence[PlantedReport], *, resamples: int) -> list[Table]:
    """Return four tables per kind (gaps, the MS score by layer, rank correlations, methods), and the summary."""
    if not reports:
        return []
    by_kind = [table(report) for report in reports for table in (_gaps, _by_layer, _correlations, _methods)]
    return [*by_kind, _summary(reports, resamples)]


def as_json(reports: Sequence[PlantedReport]) -> list[dict[str, Any]]:
    """Return one object per kind of layer. NaN becomes None."""
    return [
        {
            "kind": report.kind,
            "about": KINDS[report.kind],
            "layers": report.worlds,
            "metrics": [_metric(verdict) for verdict in report.verdicts],
            f"{BY_LAYER}_by_layer": [{"layer": name, **_gap(gap)} for name, gap in report.by_layer.items()],
            "methods": [{"method": label, **scores} for label, scores in report.recovery.items()],
        }
        for report in reports
    ]


def family_as_json(reports: Sequence[PlantedReport]) -> dict[str, Any]:
    """Return the correction for the number of tests."""
    return {"correction": "Holm", "tests": n_tests(reports), "level": ALPHA}


def _metric(verdict: PlantedVerdict) -> dict[str, Any]:
    return {
        "metric": verdict.metric,
        "better": "higher" if verdict.sign > 0 else "lower",
        **_gap(verdict.gap),
        "layers_won": verdict.gap.wins,
        "layers": verdict.gap.n,
        "collapsed": _limits(verdict.collapse.chance),
        "notices_collapse": verdict.notices_collapse,
        "questions": {
            question: {
                "about": QUESTIONS[question],
                "verdict": verdict.words[question],
                "rank_correlation": _limits(correlation.rho),
                "p": correlation.p,
                "p_holm": correlation.p_holm,
                "n": correlation.n,
                "layers": correlation.worlds,
            }
            for question, correlation in verdict.correlations.items()
        },
    }


def _gap(gap: Gap) -> dict[str, Any]:
    return {
        "truth": _limits(gap.truth),
        "chance": _limits(gap.chance),
        "gap": _limits(gap.difference),
        "p": gap.p,
        "p_holm": gap.p_holm,
    }


def _limits(interval: ValueWithInterval) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in interval._asdict().items()}


def _gaps(report: PlantedReport) -> Table:
    rows = [
        [
            _metric_label(verdict),
            formatted(verdict.gap.truth),
            formatted(verdict.gap.chance),
            formatted(verdict.gap.difference, "+"),
            f"{verdict.gap.wins}/{verdict.gap.n}",
            _apart(verdict),
            p_text(verdict.gap.p_holm),
            formatted(verdict.collapse.chance),
            {True: "yes", False: "no", None: "-"}[verdict.notices_collapse],
        ]
        for verdict in report.verdicts
    ]
    count = f"{len(report.worlds)} layer" + ("s" if len(report.worlds) > 1 else "")
    title = f"{report.kind} ({count}; {KINDS[report.kind]}): each metric on the truth and on chance"
    return Table(
        title,
        ["metric", "truth", "chance", "gap", "layers won", "apart", "p (Holm)", "truth, collapsed", "notices"],
        rows,
    )


def _by_layer(report: PlantedReport) -> Table:
    rows = [
        [
            name.removeprefix("planted:"),
            formatted(gap.truth),
            formatted(gap.chance),
            formatted(gap.difference, "+"),
            p_text(gap.p),
            p_text(gap.p_holm),
        ]
        for name, gap in report.by_layer.items()
    ]
    title = f"{report.kind}: {BY_LAYER} on the truth and on chance at each layer; intervals are about its neurons"
    return Table(title, ["layer", "truth", "chance", "gap", "p", "p (Holm)"], rows)


def _apart(verdict: PlantedVerdict) -> str:
    gap = verdict.gap
    if not gap.n or math.isnan(gap.difference.low):
        return "-"
    return "yes" if gap.is_apart(verdict.sign) and gap.wins == gap.n else "no"


def _correlations(report: PlantedReport) -> Table:
    rows = []
    for verdict in report.verdicts:
        words = verdict.words
        cells = [
            f"{words[question]}  {formatted(correlation.rho, '+', 2)}  p {p_text(correlation.p_holm)}"
            for question, correlation in verdict.correlations.items()
        ]
        rows.append([_metric_label(verdict), *cells])
    title = f"{report.kind}: verdicts, with the rank correlation over methods with each recovery score, and p (Holm)"
    return Table(title, ["metric", *(f"{about} ({name})" for name, about in QUESTIONS.items())], rows)


def _methods(report: PlantedReport) -> Table:
    rows = [
        [label, *(f"{recovered[score]:.3f}" if score in recovered else "-" for score in RECOVERY_SCORES)]
        for label, recovered in report.recovery.items()
    ]
    header = ["method", *(score.removeprefix("recovery_") for score in RECOVERY_SCORES)]
    title = f"{report.kind}: recovery of the truth by each method, mean over layers"
    return Table(title, header, rows, notes=[ADJUSTED])


def _summary(reports: Sequence[PlantedReport], resamples: int) -> Table:
    rows = []
    for report, (question, about) in itertools.product(reports, QUESTIONS.items()):
        metrics = [[v.metric for v in report.verdicts if v.words[question] == word] for word in _SUMMARY_WORDS]
        rows.append([report.kind, about, *(", ".join(names) or "none" for names in metrics)])
    notes = [f"{word}: {meaning}." for word, meaning in WORDS.items()]
    for report in reports:
        unaffected = [verdict.metric for verdict in report.verdicts if verdict.notices_collapse is False]
        if unaffected:
            affected = [verdict.metric for verdict in report.verdicts if verdict.notices_collapse]
            notes.append(
                f"{report.kind}: {', '.join(unaffected)} are not shown to detect a dictionary that repeats one true "
                f"unit. Metrics that detect it: {', '.join(affected) or 'none'}."
            )
    notes.append(FAMILY.format(n=n_tests(reports)))
    notes.append(REDRAWN.format(resamples=resamples))
    if any(report.kind == "mixtures" for report in reports):
        notes.append(VARIETY)
    return Table(
        "Validity of each metric by question",
        ["layers", "question", *_SUMMARY_WORDS],
        rows,
        numeric=(False,) * (2 + len(_SUMMARY_WORDS)),
        notes=notes,
    )


def _metric_label(verdict: PlantedVerdict) -> str:
    return f"{verdict.metric} {'↑' if verdict.sign > 0 else '↓'}"


def formatted(interval: ValueWithInterval, sign: str = "", digits: int = 3) -> str:
    """Return a value with its interval, as ``0.928 [0.922, 0.934]``, with a dash for undefined parts."""
    if math.isnan(interval.value):
        return "-"
    form = f"{sign}.{digits}f"
    if math.isnan(interval.low):
        return f"{interval.value:{form}} [-]"
    return f"{interval.value:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def p_text(p: float | None) -> str:
    """Return a p-value as ``.021`` or ``<.001``, with a dash for None."""
    if p is None:
        return "-"
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")
