"""Report against the paper as text, Markdown or LaTeX."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from results.errors import StoreError
from results.published.report import TITLES, Beside, PublishedReport, RankAgreement
from results.published.rows import Setting
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
        raise StoreError(f"There is no report as {form!r}; there are {', '.join(FORMATS)}.")
    return "\n".join((latex if form == "latex" else markdown)(table) for table in tables(report, absent=absent))


def tables(report: PublishedReport, *, absent: bool = True) -> list[Table]:
    """Return one Table per table of the paper and setting, and one of the rank correlations."""
    found, empty = [], []
    for number in sorted({cell.table for cell in report.cells}):
        cells = [cell for cell in report.cells if cell.table == number]
        shown = [cell for cell in cells if absent or cell.measured is not None]
        if not shown:
            empty.append(f"Table {number}: none of its {len(cells)} published values has a measured one.")
            continue
        for setting in dict.fromkeys(cell.setting for cell in shown):
            table = _of_setting(number, setting, cells, [cell for cell in shown if cell.setting == setting])
            found.append(_labelled(table, report))
    rows = [_rank_row(one) for one in report.ranks]
    orders = Table(
        "Order of the methods: published against measured",
        ("table", "setting", "metric", "methods", "Spearman ρ", "Kendall τ"),
        rows,
        (False, False, False, True, True, True),
        (*empty, *report.notes),
    )
    return [*found, _labelled(orders, report)]


def _labelled(table: Table, report: PublishedReport) -> Table:
    """Return the table with a prominent warning if other networks replace the paper's."""
    if not report.stand_ins:
        return table
    return table._replace(
        title=f"STAND-INS, no measured figure means anything. {table.title}",
        header=[{"measured": "stand-in"}.get(name, name) for name in table.header],
        notes=[
            "Other networks on a few photographs stand in for the paper's (`--scale tiny`): this shows that every cell "
            "can be measured and compared, and neither differences nor orders mean anything.",
            *table.notes,
        ],
    )


def _of_setting(number: int, setting: Setting, cells: Sequence[Beside], shown: Sequence[Beside]) -> Table:
    """Return one table of the paper in one setting."""
    own = [cell for cell in cells if cell.setting == setting]
    n_measured = sum(cell.measured is not None for cell in own)
    notes = [f"{n_measured} of {len(own)} published values have a measured one; {_ABSENT}: not measured."]
    notes += _reasons(shown)
    if number == 4:
        notes.append("max_collinearity stands beside the paper's coherence, which may be read the other way round.")
        notes.append(
            "The paper's effective rank and coherence of ELUDe are what the directions give that sub-units write; "
            "measured is what they read."
        )
    return Table(
        f"Table {number}: {TITLES[number]}, published and measured: {setting}",
        _HEADER,
        [_row(cell) for cell in shown],
        (False, False, True, True, True, True, False),
        notes,
    )


def _reasons(cells: Sequence[Beside]) -> list[str]:
    """Return why cells are absent: a sentence for each reason and setting, with its methods."""
    methods: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        if cell.why_absent:
            own = methods.setdefault((str(cell.setting), cell.why_absent), [])
            if cell.method not in own:
                own.append(cell.method)
    of_setting: dict[str, set[str]] = {}
    for cell in cells:
        of_setting.setdefault(str(cell.setting), set()).add(cell.method)
    return [
        f"{setting}, {'every method' if set(own) == of_setting[setting] and len(own) > 1 else ', '.join(own)}: {why}."
        for (setting, why), own in methods.items()
    ]


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
    return {"cells": cells, "ranks": ranks, "notes": list(report.notes), "stand_ins": report.stand_ins}


def _row(cell: Beside) -> list[str]:
    unit = f" ({cell.unit})" if cell.unit and cell.unit != _RANKS else ""
    within = {True: "yes", False: "no", None: "not known"}[cell.within]
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


def _digits(cell: Beside) -> int:
    return 0 if cell.unit == _RANKS else 2


def _value(cell: Beside, value: float, interval: tuple[float, float] | None) -> str:
    return f"{value:.{_digits(cell)}f}" + (f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")


def _rank_row(one: RankAgreement) -> list[str]:
    numbers = ["too few" if value is None else f"{value:.2f}" for value in (one.spearman, one.kendall)]
    return [str(one.table), str(one.setting), one.metric, str(one.n), *numbers]
