"""The report against the paper as text, Markdown or LaTeX."""

from __future__ import annotations

import dataclasses
from typing import Any

from results.errors import StoreError
from results.published_report import TITLES, Beside, PublishedReport, RankAgreement
from results.tables import Table, latex, markdown

FORMATS = ("markdown", "latex")
_ABSENT = "absent"
_HEADER = ("setting", "method", "metric", "published", "measured", "n", "difference", "within both")


def render(report: PublishedReport, form: str = "markdown", *, absent: bool = True) -> str:
    """Return the report: per table its cells, then how far the orders agree.

    Args:
        form: one of FORMATS.
        absent: show published cells that were not measured; without them only how many there are is said.

    Raises:
        StoreError: an unknown form.
    """
    if form not in FORMATS:
        raise StoreError(f"There is no report as {form!r}; there are {', '.join(FORMATS)}.")
    return "\n".join((latex if form == "latex" else markdown)(table) for table in tables(report, absent=absent))


def tables(report: PublishedReport, *, absent: bool = True) -> list[Table]:
    """Return one Table per table of the paper, and one of the rank correlations."""
    found, empty = [], []
    for number in sorted({cell.table for cell in report.cells}):
        cells = [cell for cell in report.cells if cell.table == number]
        shown = [cell for cell in cells if absent or cell.measured is not None]
        if not shown:
            empty.append(f"Table {number}: none of its {len(cells)} published values has a measured one.")
            continue
        n_measured = sum(cell.measured is not None for cell in cells)
        notes = [f"{n_measured} of {len(cells)} published values have a measured one; {_ABSENT}: not measured."]
        notes += sorted({f"{cell.method}, {cell.setting}: {cell.why_absent}." for cell in shown if cell.why_absent})
        if number == 4:
            notes.append("max_collinearity stands beside the paper's coherence, which may be read the other way round.")
        found.append(
            Table(
                f"Table {number}: {TITLES[number]}, published and measured",
                _HEADER,
                [_row(cell) for cell in shown],
                (False, False, False, True, True, True, True, False),
                notes,
            )
        )
    rows = [_rank_row(one) for one in report.ranks]
    found.append(
        Table(
            "Order of the methods: published against measured",
            ("table", "setting", "metric", "methods", "Spearman ρ", "Kendall τ"),
            rows,
            (False, False, False, True, True, True),
            (*empty, *report.notes),
        )
    )
    return found


def report_json(report: PublishedReport) -> dict[str, Any]:
    """Return the report as JSON content."""
    cells = [
        {
            **dataclasses.asdict(cell),
            "setting": cell.setting._asdict(),
            "difference": cell.difference,
            "within_both": cell.within,
        }
        for cell in report.cells
    ]
    ranks = [{**one._asdict(), "setting": one.setting._asdict()} for one in report.ranks]
    return {"cells": cells, "ranks": ranks, "notes": list(report.notes)}


def _row(cell: Beside) -> list[str]:
    unit = f" ({cell.unit})" if cell.unit else ""
    within = {True: "yes", False: "no", None: "not known"}[cell.within]
    return [
        str(cell.setting),
        cell.method,
        f"{cell.metric}{unit}",
        _value(cell.published, cell.published_interval),
        _ABSENT if cell.measured is None else _value(cell.measured, cell.measured_interval),
        str(cell.n) if cell.measured is not None else "",
        "" if cell.difference is None else f"{cell.difference:+.2f}",
        "" if cell.measured is None else within,
    ]


def _value(value: float, interval: tuple[float, float] | None) -> str:
    return f"{value:.2f}" + (f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")


def _rank_row(one: RankAgreement) -> list[str]:
    numbers = ["too few" if value is None else f"{value:.2f}" for value in (one.spearman, one.kendall)]
    return [str(one.table), str(one.setting), one.metric, str(one.n), *numbers]
