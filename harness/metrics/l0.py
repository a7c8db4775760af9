"""L0: number of active units per token."""

from __future__ import annotations

from collections.abc import Iterable

from harness.metrics.base import METRICS, Metric, Outcome, Score
from harness.stats import standard_error_from_sums


@METRICS.register()
class L0(Metric):
    """Mean number of units with a nonzero code per token. Dense methods have about ``n_units``.

    No direction (since version 2; the value is that of version 1): fewer is better among sparse codes that reconstruct
    equally well, but a board also has dense codes, whose count is that of their units.
    """

    id = "l0"
    version = 2
    title = "L0"
    unit = "units"
    direction = "none"
    reference = "ELUDe paper, App. E.1"
    needs_network = False

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        units = outcome.units
        total, squares = units.l0_sums.tolist()
        mean, error = standard_error_from_sums(total, squares, units.n_images)
        yield self.score(mean, units.n_tokens, error, "images")
