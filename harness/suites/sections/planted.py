"""``[planted]``: after the run, say which metrics agree with the planted truth (see ``docs/validity.md``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

import harness.planted  # noqa: F401 - makes the method oracle known
from harness.suites.schema import Section, Seed, Whole
from harness.suites.sections import SECTIONS

if TYPE_CHECKING:
    from harness.suites.reports import AfterRun
    from results import Store


class Planted(Section):
    """How the intervals of the verdicts are made."""

    resamples: Whole = Field(1000, ge=100, description="bootstrap resamples")
    seed: Seed = Field(0, description="of the resamples")

    def report(self, store: Store, cell_ids: Sequence[str]) -> AfterRun | None:
        """The verdicts on the metrics; None where no layer has both truth and chance."""
        from harness.planted import report, verdicts
        from harness.planted.evidence import gather
        from harness.suites.reports import AfterRun

        found = verdicts.reports(gather(store, cell_ids), resamples=self.resamples, seed=self.seed)
        if not found:
            return None
        return AfterRun(report.tables(found, resamples=self.resamples), report.as_json(found))


SECTIONS.add("planted", Planted, description="verdicts on metrics and methods from planted truth")
