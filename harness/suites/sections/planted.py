"""Section ``[planted]``: report after the run which metrics agree with the planted truth (``docs/validity.md``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

import harness.planted  # noqa: F401 - registers the method `oracle`
from harness.suites.schema import Section, Seed, Whole
from harness.suites.sections import SECTIONS

if TYPE_CHECKING:
    from harness.suites.reports import SectionReport
    from results import Store


class Planted(Section):
    """Settings of the bootstrap intervals of the verdicts."""

    resamples: Whole = Field(1000, ge=100, le=1_000_000, description="number of bootstrap resamples")
    seed: Seed = Field(0, description="random seed of the bootstrap")

    def report(self, store: Store, cell_ids: Sequence[str]) -> SectionReport | None:
        """Return the verdicts on the metrics; None if no layer has both truth and chance."""
        from harness.planted import report, verdicts
        from harness.planted.evidence import gather
        from harness.suites.reports import SectionReport

        verdict_reports = verdicts.reports(gather(store, cell_ids), resamples=self.resamples, seed=self.seed)
        if not verdict_reports:
            return None
        return SectionReport(report.tables(verdict_reports, resamples=self.resamples), report.as_json(verdict_reports))


SECTIONS.add("planted", Planted, description="verdicts on metrics and methods from planted truth")
