"""The verdicts as tables for people and as JSON for machines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from harness.planted.evidence import KINDS, QUESTIONS
from harness.planted.statistics import Interval
from harness.planted.verdicts import WORDS, Report, Verdict
from results.tables import Table

#: Said under every report: what was redrawn for the intervals.
REDRAWN = (
    "95 % intervals. Gap, metrics with one value a unit: neurons redrawn ({resamples} bootstrap resamples), with what "
    "layers vary beyond them; with one value a layer: Student's t over layers of each setting. Rank correlation: "
    "methods redrawn with all their configurations, the same ones at every layer. Settings are not redrawn."
)

#: What keeps a metric from being called bad that was never meant for the question.
VARIETY = (
    "In mixtures every concept is in several neurons, so the true parts repeat each other: effective rank, "
    "collinearity and overlap tell there whether units differ, which is another question than whether they are right."
)

#: Words that are worth a line in the summary, strongest first.
_SAID = ("believe", "truth only", "wrong way")


def tables(reports: Sequence[Report], *, resamples: int) -> list[Table]:
    """Of each kind of layer: the gaps, the rank correlations with a verdict each, the methods; then the summary."""
    if not reports:
        return []
    found = []
    for report in reports:
        found += [_gaps(report), _correlations(report), _methods(report)]
    return [*found, _summary(reports, resamples)]


def as_json(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """One object a kind of layer; NaN is null."""
    return [
        {
            "kind": report.kind,
            "about": KINDS[report.kind],
            "layers": report.worlds,
            "metrics": [_metric(verdict) for verdict in report.verdicts],
            "methods": [{"method": label, **scores} for label, scores in report.recovery.items()],
        }
        for report in reports
    ]


def _metric(verdict: Verdict) -> dict[str, Any]:
    return {
        "metric": verdict.metric,
        "better": "higher" if verdict.sign > 0 else "lower",
        "truth": _limits(verdict.gap.truth),
        "chance": _limits(verdict.gap.chance),
        "gap": _limits(verdict.gap.difference),
        "layers_won": verdict.gap.wins,
        "layers": verdict.gap.n,
        "collapsed": _limits(verdict.collapse.chance),
        "notices_collapse": verdict.notices_collapse,
        "questions": {
            question: {
                "about": QUESTIONS[question],
                "verdict": verdict.words[question],
                "rank_correlation": _limits(found.rho),
                "n": found.n,
                "layers": found.worlds,
            }
            for question, found in verdict.correlations.items()
        },
    }


def _limits(interval: Interval) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in interval._asdict().items()}


def _gaps(report: Report) -> Table:
    rows = [
        [
            _named(verdict),
            _shown(verdict.gap.truth),
            _shown(verdict.gap.chance),
            _shown(verdict.gap.difference, "+"),
            f"{verdict.gap.wins}/{verdict.gap.n}",
            _apart(verdict),
            _shown(verdict.collapse.chance),
            {True: "yes", False: "no", None: "-"}[verdict.notices_collapse],
        ]
        for verdict in report.verdicts
    ]
    count = f"{len(report.worlds)} layer" + ("s" if len(report.worlds) > 1 else "")
    title = f"{report.kind} ({count}; {KINDS[report.kind]}): each metric on the truth and on chance"
    return Table(
        title, ["metric", "truth", "chance", "gap", "layers won", "apart", "truth, collapsed", "notices"], rows
    )


def _apart(verdict: Verdict) -> str:
    gap = verdict.gap
    if not gap.n or math.isnan(gap.difference.low):
        return "-"
    return "yes" if gap.is_apart(verdict.sign) and gap.wins == gap.n else "no"


def _correlations(report: Report) -> Table:
    rows = []
    for verdict in report.verdicts:
        words = verdict.words
        cells = [f"{words[question]}  {_shown(found.rho, '+', 2)}" for question, found in verdict.correlations.items()]
        rows.append([_named(verdict), *cells])
    title = f"{report.kind}: verdicts, with the rank correlation over methods with each recovery score"
    return Table(title, ["metric", *(f"{about} ({name})" for name, about in QUESTIONS.items())], rows)


def _methods(report: Report) -> Table:
    scores = (*QUESTIONS, "recovery_separated")
    rows = [
        [label, *(f"{found[score]:.3f}" if score in found else "-" for score in scores)]
        for label, found in report.recovery.items()
    ]
    header = ["method", *(score.removeprefix("recovery_") for score in scores)]
    return Table(f"{report.kind}: how much of the truth each method found, mean over layers", header, rows)


def _summary(reports: Sequence[Report], resamples: int) -> Table:
    rows = []
    for report in reports:
        for question, about in QUESTIONS.items():
            named = {
                word: ", ".join(verdict.metric for verdict in report.verdicts if verdict.words[question] == word)
                for word in _SAID
            }
            rows.append([report.kind, about, *(named[word] or "none" for word in _SAID)])
    notes = [f"{word}: {meaning}." for word, meaning in WORDS.items()]
    for report in reports:
        blind = [verdict.metric for verdict in report.verdicts if verdict.notices_collapse is False]
        if blind:
            seeing = [verdict.metric for verdict in report.verdicts if verdict.notices_collapse]
            notes.append(
                f"{report.kind}: a dictionary that repeats one true unit goes unnoticed by {', '.join(blind)}; "
                f"beside these read {', '.join(seeing) or 'nothing here'}."
            )
    title = "Which metric can be believed for which question?"
    return Table(
        title,
        ["layers", "question", *_SAID],
        rows,
        numeric=(False,) * 5,
        notes=[*notes, REDRAWN.format(resamples=resamples), *([VARIETY] if _has_mixtures(reports) else [])],
    )


def _has_mixtures(reports: Sequence[Report]) -> bool:
    return any(report.kind == "mixtures" for report in reports)


def _named(verdict: Verdict) -> str:
    return f"{verdict.metric} {'↑' if verdict.sign > 0 else '↓'}"


def _shown(interval: Interval, sign: str = "", digits: int = 3) -> str:
    """``0.928 [0.922, 0.934]``; a dash for what is not there."""
    if math.isnan(interval.value):
        return "-"
    form = f"{sign}.{digits}f"
    if math.isnan(interval.low):
        return f"{interval.value:{form}} [-]"
    return f"{interval.value:{form}} [{interval.low:{form}}, {interval.high:{form}}]"
