"""Fraction of variance unexplained: residual of the reconstruction over the variance of the layer's output, pooled."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from harness.metrics.base import METRICS, Outcome, Score
from harness.metrics.r2 import R2, GroupedReconstruction


def fvu(a: Tensor, a_hat: Tensor) -> float:
    """Return the fraction of variance unexplained of a reconstruction ``a_hat`` (n, d) of ``a`` (n, d).

    It is ``sum (a - a_hat)^2 / sum (a - mean)^2``, both summed over rows and features: 0 for a perfect reconstruction,
    1 for one by the mean, and more for a worse one. NaN if all features are constant.

    Raises:
        ArgumentError: if the shapes do not match, or a value or its square is NaN or infinite.
    """
    return R2("fvu").update(a, a_hat).fvu()


@METRICS.register()
class FVU(GroupedReconstruction):
    """Residual sum of squares over total sum of squares, each summed over all tokens and features; lower is better.

    Unlike R2, which averages a ratio over features, it weights features by their variance, so a feature that hardly
    varies cannot decide it. Companion: ``r2_pooled = 1 - fvu``. The standard errors are a jackknife over ten groups of
    images; ``details["without_group"]`` has the estimates without one group each, in the order of the groups.
    """

    id = "fvu"
    title = "fraction of variance unexplained"
    # It has no upper bound, so it is not printed in percent.
    unit = ""
    direction = "lower"
    reference = "sum (a - a_hat)^2 / sum (a - mean)^2 over tokens and features"

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        yield self.groups.estimate(R2.fvu).score(self.id, self.direction, self.unit)
        yield self.groups.estimate(_explained).score("r2_pooled")


def _explained(sums: R2) -> float:
    return 1 - sums.fvu()
