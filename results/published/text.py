"""Report against the paper as text, Markdown or LaTeX."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from results.errors import StoreError
from results.published.printed import TITLES, PublishedCell
from results.published.report import PublishedReport, RankAgreement
from results.published.rows import PaperSetting
from results.store.records import grouped
from results.tables import Table, latex, markdown

FORMATS = ("markdown", "latex")
_ABSENT = "absent"
#: Unit of ranks, which are whole numbers.
_RANKS = "rank"
_HEADER = ("method", "metric", "published", "measured", "n", "difference", "within both")


def render(report: PublishedReport, form: str = "markdown", *, absent: bool = True) -> str:
    """Return the report: per table its cells, then the agreement of the orders.

    Args:
        form: one of FORMATS.
        absent: show published cells that were not measured; if false, only their number is shown.

    Raises:
        StoreError: an unknown form.
    """
    if form not in FORMATS:
        raise StoreError(f"Unknown report format {form!r}; use one of {', '.join(FORMATS)}.")
    return "\n".join((latex if form == "latex" else markdown)(table) for table in tables(report, absent=absent))


def tables(report: PublishedReport, *, absent: bool = True) -> list[Table]:
    """Return one Table per table of the paper and setting, and one of the rank correlations."""
    setting_tables, empty = [], []
    for number, cells in sorted(grouped(report.cells, lambda cell: cell.table).items()):
        visible_cells = [cell for cell in cells if absent or cell.measured is not None]
        if not visible_cells:
            empty.append(f"Table {number}: none of its {len(cells)} published values was measured.")
        for setting, group in grouped(visible_cells, lambda cell: cell.setting).items():
            n_published = sum(cell.setting == setting for cell in cells)
            setting_tables.append(_of_setting(number, setting, n_published, group))
    orders = Table(
        "Order of the methods: published against measured",
        ("table", "setting", "metric", "methods", "Spearman ρ", "Kendall τ"),
        [_rank_row(agreement) for agreement in report.ranks],
        (False, False, False, True, True, True),
        (*empty, *report.notes),
    )
    return [*setting_tables, orders]


def _of_setting(number: int, setting: PaperSetting, n_published: int, cells: Sequence[PublishedCell]) -> Table:
    """Return one table of the paper in one setting, with the cells to show of all that are published."""
    n_measured = sum(cell.measured is not None for cell in cells)
    notes = [f"{n_measured} of {n_published} published values were measured; {_ABSENT}: not measured."]
    notes += _reasons(setting, cells)
    if number == 4:
        notes.append("max_collinearity is compared with the paper's coherence, whose definition may be the reverse.")
        notes.append(
            "The paper's effective rank and coherence of ELUDe are of the directions that sub-units write; "
            "the measured ones are of those that they read."
        )
    if number == 9:
        notes.append(
            "A neuron without clusters counts as one unit here; the paper sums cluster counts, in which it may be 0."
        )
    return Table(
        f"Table {number}: {TITLES[number]}, published and measured: {setting}",
        _HEADER,
        [_row(cell) for cell in cells],
        (False, False, True, True, True, True, False),
        notes,
    )


def _reasons(setting: PaperSetting, cells: Sequence[PublishedCell]) -> list[str]:
    """Return why cells of a setting are absent: a sentence for each reason, with its methods."""
    all_methods = {cell.method for cell in cells}
    reasons = []
    for reason, group in grouped([cell for cell in cells if cell.why_absent], lambda cell: cell.why_absent).items():
        methods = dict.fromkeys(cell.method for cell in group)
        is_every = len(methods) > 1 and set(methods) == all_methods
        reasons.append(f"{setting}, {'every method' if is_every else ', '.join(methods)}: {reason}.")
    return reasons


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
    ranks = [{**agreement._asdict(), "setting": agreement.setting._asdict()} for agreement in report.ranks]
    return {"cells": cells, "ranks": ranks, "notes": list(report.notes)}


def _row(cell: PublishedCell) -> list[str]:
    unit = f" ({cell.unit})" if cell.unit and cell.unit != _RANKS else ""
    within = {True: "yes", False: "no", None: "unknown"}[cell.within]
    return [
        cell.method,
        f"{cell.metric}{unit}",
        _value(cell, cell.published, cell.published_interval),
        _ABSENT if cell.measured is None else _value(cell, cell.measured, cell.measured_interval),
        str(cell.n) if cell.measured is not None else "",
        # + 0.0: no minus zero.
        "" if cell.difference is None else f"{round(cell.difference, 2) + 0.0:+.{_digits(cell)}f}",
        "" if cell.measured is None else within,
    ]


def _digits(cell: PublishedCell) -> int:
    return 0 if cell.unit == _RANKS else 2


def _value(cell: PublishedCell, value: float, interval: tuple[float, float] | None) -> str:
    return f"{value:.{_digits(cell)}f}" + (f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")


def _rank_row(agreement: RankAgreement) -> list[str]:
    *facts, spearman, kendall = agreement
    return [*map(str, facts), *("too few" if value is None else f"{value:.2f}" for value in (spearman, kendall))]
