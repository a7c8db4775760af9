"""R2: share of the variance of the layer's output that the reconstruction explains, averaged over features."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.errors import ArgumentError
from harness.metrics.base import METRICS, Batch, Metric, Outcome, Score
from harness.metrics.inputs import require_finite, require_real
from harness.stats import jackknife_standard_error
from methods.requirements import is_finite

if TYPE_CHECKING:
    from harness.activations.baseline import Baseline
    from methods.base import Method

_GROUPS = 10


class R2:
    """Streaming coefficient of determination, computed in one pass and independent of the batch size.

    Sums of squares are about the running mean and merged in float64 (Chan et al. 1983), which avoids the cancellation
    caused by a large mean.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.total = self.residual = torch.zeros((), dtype=torch.float64)

    def update(self, a: Tensor, a_hat: Tensor) -> R2:
        """Add rows ``a`` (n, d) and their reconstruction ``a_hat`` (n, d).

        Raises:
            ArgumentError: if the shapes do not match, also those of earlier rows, or a value or its square is NaN or
                infinite.
        """
        require_real("r2", a=a, a_hat=a_hat)
        require_finite("r2", a=a, a_hat=a_hat)
        if a.shape != a_hat.shape or a.ndim != 2:
            raise ArgumentError(
                f"r2: a {tuple(a.shape)} and a_hat {tuple(a_hat.shape)} must have the same shape (n, d)."
            )
        if not len(a):
            return self
        rows, predicted = a.double(), a_hat.double()
        part = R2()
        part.count = len(rows)
        part.mean = rows.mean(0)
        part.total = ((rows - part.mean) ** 2).sum(0)
        part.residual = ((rows - predicted) ** 2).sum(0)
        if not is_finite(part.total) or not is_finite(part.residual):
            raise ArgumentError(
                "r2: squares of a or of a - a_hat exceed the range of float64; divide both by a constant."
            )
        return self.merge(part)

    def merge(self, other: R2) -> R2:
        """Add the rows of another accumulator.

        Raises:
            ArgumentError: if its rows have another number of features.
        """
        if not other.count:
            return self
        if self.count and self.mean.shape != other.mean.shape:
            raise ArgumentError(
                f"r2: rows of {len(other.mean)} features cannot be added to rows of {len(self.mean)}; "
                "use one R2 for each."
            )
        count = self.count + other.count
        delta = other.mean - self.mean
        self.total = self.total + other.total + delta**2 * (self.count * other.count / count)
        self.residual = self.residual + other.residual
        self.mean = self.mean + delta * (other.count / count)
        self.count = count
        return self

    def compute(self) -> float:
        """Return the mean over features of ``1 - sum (a - a_hat)^2 / sum (a - mean)^2``, without constant features.

        Returns:
            A value of at most 1: 0 for a reconstruction by the mean, negative for a worse one. It is NaN if all
            features are constant.
        """
        # The mean of equal float64 values may be off by some ulps; such a feature is constant. For float32 values the
        # sums are exact, and the bound lies far below the smallest variance that they can have.
        rounding = self.count * (16 * torch.finfo(torch.float64).eps * self.mean) ** 2
        varies = self.total > rounding
        return float((1 - self.residual[varies] / self.total[varies]).mean())


def r2(a: Tensor, a_hat: Tensor) -> float:
    """Return the R2 of a reconstruction ``a_hat`` (n, d) of ``a`` (n, d); see :meth:`R2.compute`.

    Raises:
        ArgumentError: as :meth:`R2.update`.
    """
    return R2().update(a, a_hat).compute()


@METRICS.register()
class ReconstructionR2(Metric):
    """R2 over all tokens of the evaluation split.

    The standard error is a delete-a-group jackknife over ten groups of images, because tokens of one image are not
    independent.
    """

    id = "r2"
    title = "R2"
    reference = "ELUDe paper, section 4.1; mean over features of 1 - SSE / SST"

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        # A virtual method returns the original output, so its R2 is meaningless.
        return not method.spec.virtual

    def __init__(self, baseline: Baseline) -> None:
        super().__init__(baseline)
        self.groups = [R2() for _ in range(_GROUPS)]

    def update(self, batch: Batch) -> None:
        for group in torch.unique(batch.image % _GROUPS).tolist():
            chosen = batch.image % _GROUPS == group
            self.groups[group].update(batch.a[chosen].flatten(0, 1), batch.a_hat[chosen].flatten(0, 1))

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        used = [group for group in self.groups if group.count]
        without_one = [_merged(group for group in used if group is not left_out) for left_out in used]
        error, n_tokens = jackknife_standard_error(without_one), sum(group.count for group in used)
        yield self.score(_merged(used), n_tokens, error, "jackknife over groups of images")


def _merged(groups: Iterable[R2]) -> float:
    """Return the R2 of the rows of all groups."""
    merged = R2()
    for group in groups:
        merged.merge(group)
    return merged.compute()
