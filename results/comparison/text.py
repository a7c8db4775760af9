"""Table and JSON of a comparison."""

from __future__ import annotations

import dataclasses
from typing import Any

from results.boards.board import Column
from results.boards.trials import marked
from results.comparison.paired import Comparison, Difference
from results.comparison.sentence import comparison_sentence
from results.store.records import grouped
from results.tables import Table


def table(comparison: Comparison) -> Table:
    """Return one line per metric: both means, the difference with its interval, the p-values, the better row."""
    a, b = comparison.a.title, comparison.b.title
    if a == b:
        a, b = f"{a} (A)", f"{b} (B)"
    percent = f"{100 * comparison.level:g} %"
    notes = [comparison_sentence(comparison)]
    notes.append(f"A = {a}, B = {b}; difference = A - B; paired on {', '.join(comparison.seeds)}.")
    for description, group in grouped(comparison.differences, lambda difference: difference.paired).items():
        notes.append(f"{', '.join(difference.column.key for difference in group)}: {description}.")
    for tested, group in grouped([one for one in comparison.differences if one.tested_as], _tested_as).items():
        notes.append(f"{', '.join(one.column.key for one in group)}: not tested, another form of {tested}.")
    n_tested = sum(difference.p is not None for difference in comparison.differences)
    notes.append(
        f"{percent} intervals from {comparison.n_resamples} resamples (seed {comparison.seed}) of the images, neurons "
        "or units named above, else from the spread over seeds and the standard errors within cells. "
        f"p (Holm) is corrected for the {n_tested} metrics tested."
    )
    return Table(
        marked(f"{a} against {b}: {comparison.board.title}", comparison.board),
        ("metric", "A", "B", "A - B", f"{percent} interval", "p", "p (Holm)", "better"),
        [_row(difference, (a, b)) for difference in comparison.differences],
        (False, True, True, True, True, True, True, False),
        [*notes, *refusals(comparison), *comparison.notes],
    )


def refusals(comparison: Comparison) -> list[str]:
    """Return notes on what is not compared: a sentence for each reason, with its metrics."""
    reasons = grouped(comparison.refused, lambda refusal: refusal[1])
    return [f"Not compared: {', '.join(metric for metric, _ in group)}: {reason}." for reason, group in reasons.items()]


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON content."""
    board, rows = comparison.board, {"a": comparison.a, "b": comparison.b}
    identity = ("backbone", "backbone_title", "site", "dataset", "evaluation_fingerprint")
    column_fields = ("metric", "version", "params", "unit", "direction")
    return {
        **{name: getattr(board, name) for name in identity},
        **{side: {name: getattr(row, name) for name in ("title", "method", "config_id")} for side, row in rows.items()},
        "sentence": comparison_sentence(comparison),
        "level": comparison.level,
        "n_resamples": comparison.n_resamples,
        "seed": comparison.seed,
        "seeds": list(comparison.seeds),
        "differences": [
            {
                **dataclasses.asdict(difference),
                "column": difference.column.key,
                **{name: getattr(difference.column, name) for name in column_fields},
            }
            for difference in comparison.differences
        ],
        "refused": [{"metric": metric, "reason": reason} for metric, reason in comparison.refused],
        "notes": list(comparison.notes),
    }


def _row(difference: Difference, names: tuple[str, str]) -> list[str]:
    column, ends = difference.column, (difference.low, difference.high)
    bounds = [_signed(column, end) for end in ends if end is not None]
    return [
        column.heading,
        column.text(difference.a),
        column.text(difference.b),
        _signed(column, difference.difference),
        f"[{', '.join(bounds)}]" if bounds else "unknown",
        _p(difference.p),
        _p(difference.p_holm),
        {"a": names[0], "b": names[1], None: ""}[difference.better],
    ]


def _tested_as(difference: Difference) -> str:
    return difference.tested_as or ""


def _signed(column: Column, value: float) -> str:
    displayed = column.display_value(value)
    # A small difference of large values keeps its sign: fewer digits would print 0.
    if not displayed and value:
        return f"{value * (100 if column.unit == 'fraction' else 1):.1e}"
    return f"{displayed:{'+' if displayed else ''}.{column.digits}f}"


def _p(p: float | None) -> str:
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
