"""Table and JSON of a comparison."""

from __future__ import annotations

import dataclasses
from typing import Any

from results.boards.board import Column, board_json
from results.boards.trials import marked
from results.comparison.paired import Comparison, Difference
from results.tables import Table


def table(comparison: Comparison) -> Table:
    """Return one line per metric: both means, the difference with its interval, the p-values, the better row."""
    a, b = comparison.a.title, comparison.b.title
    if a == b:
        a, b = f"{a} (A)", f"{b} (B)"
    percent = f"{100 * comparison.level:g} %"
    rows = [_row(one, (a, b)) for one in comparison.differences]
    notes = [f"A = {a}, B = {b}; difference = A - B; paired on {', '.join(comparison.seeds)}."]
    paired = list(dict.fromkeys(one.paired for one in comparison.differences))
    for description in paired:
        names = [one.column.key for one in comparison.differences if one.paired == description]
        notes.append(f"{', '.join(names)}: {description}.")
    tested = sum(one.p is not None for one in comparison.differences)
    notes.append(
        f"{percent} intervals; Student's t over seeds, for units a clustered bootstrap of {comparison.n_resamples} "
        f"resamples (seed {comparison.seed}); p (Holm) is corrected for the {tested} metrics tested. "
        "All are conditional on the evaluation images."
    )
    notes += refusals(comparison)
    notes += list(comparison.notes)
    board = comparison.board
    title = f"{a} against {b}: {board.backbone_title} at {board.site}" + (
        f" on {board.dataset}" if board.dataset else ""
    )
    return Table(
        marked(title, board),
        ("metric", "A", "B", "A - B", f"{percent} interval", "p", "p (Holm)", "better"),
        rows,
        (False, True, True, True, True, True, True, False),
        notes,
    )


def refusals(comparison: Comparison) -> list[str]:
    """Return notes on what is not compared: a sentence for each reason, with its metrics."""
    metrics: dict[str, list[str]] = {}
    for metric, reason in comparison.refused:
        metrics.setdefault(reason, []).append(metric)
    return [f"Not compared: {', '.join(metric_ids)}: {reason}." for reason, metric_ids in metrics.items()]


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON content."""
    head = board_json(dataclasses.replace(comparison.board, columns=(), rows=(), floors=(), notes=()))
    return {
        **{name: head[name] for name in ("backbone", "backbone_title", "site", "dataset", "evaluation_fingerprint")},
        "a": {"title": comparison.a.title, "method": comparison.a.method, "config_id": comparison.a.config_id},
        "b": {"title": comparison.b.title, "method": comparison.b.method, "config_id": comparison.b.config_id},
        "level": comparison.level,
        "n_resamples": comparison.n_resamples,
        "seed": comparison.seed,
        "seeds": list(comparison.seeds),
        "differences": [
            {**dataclasses.asdict(one), "column": one.column.key, **_column(one.column)}
            for one in comparison.differences
        ],
        "refused": [{"metric": metric, "reason": reason} for metric, reason in comparison.refused],
        "notes": list(comparison.notes),
    }


def _column(column: Column) -> dict[str, Any]:
    return {
        "metric": column.metric,
        "version": column.version,
        "params": dict(column.params),
        "unit": column.unit,
        "direction": column.direction,
    }


def _row(one: Difference, names: tuple[str, str]) -> list[str]:
    unit = " (%)" if one.column.unit == "fraction" else f" ({one.column.unit})" if one.column.unit else ""
    arrow = {"higher": " ↑", "lower": " ↓", "none": ""}[one.column.direction]
    interval = "unknown" if one.low is None or one.high is None else f"[{_text(one, one.low)}, {_text(one, one.high)}]"
    better = {"a": names[0], "b": names[1], None: ""}[one.better]
    return [
        f"{one.column.key}{unit}{arrow}",
        one.column.text(one.a),
        one.column.text(one.b),
        _text(one, one.difference),
        interval,
        _p(one.p),
        _p(one.p_holm),
        better,
    ]


def _text(one: Difference, value: float) -> str:
    displayed = one.column.display_value(value)
    # A small difference of large values keeps its sign: fewer digits would print 0.
    if not displayed and value:
        return f"{value * (100 if one.column.unit == 'fraction' else 1):.1e}"
    return f"{displayed:+.{one.column.digits}f}" if displayed else f"{displayed:.{one.column.digits}f}"


def _p(p: float | None) -> str:
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
