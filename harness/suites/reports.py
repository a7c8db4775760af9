"""Reports of suite sections after a run: tables below the boards of ``harness run``.

A section with a report has a method ``report(store, cell_ids) -> SectionReport | None``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from harness.suites.schema import Suite
from results import Store
from results.tables import Table


class SectionReport(NamedTuple):
    """Report of one section."""

    tables: Sequence[Table]
    data: Any
    """the same content for JSON output"""


@runtime_checkable
class ReportingSection(Protocol):
    """Section with a report after the run."""

    def report(self, store: Store, cell_ids: Sequence[str]) -> SectionReport | None:
        """Return the report on the cells, or None."""
        ...


def section_reports(suite: Suite, store: Store, cells: Mapping[str, Sequence[str]]) -> dict[str, SectionReport]:
    """Return the report of each section on the cells of all parts that have it.

    The settings of a section are those of the first such part.

    Args:
        suite: suite that was run.
        store: store with the results.
        cells: name of each part (or of a suite without parts) -> its cells.
    """
    sections: dict[str, ReportingSection] = {}
    section_cells: dict[str, list[str]] = {}
    for leaf in suite.leaves:
        for name, section in leaf.extra.items():
            if isinstance(section, ReportingSection) and leaf.name in cells:
                sections.setdefault(name, section)
                section_cells.setdefault(name, []).extend(cells[leaf.name])
    results = {name: section.report(store, section_cells[name]) for name, section in sections.items()}
    return {name: report for name, report in results.items() if report is not None}
