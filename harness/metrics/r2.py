"""R2: share of the variance of the layer's output that the reconstruction explains, averaged over features."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

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

#: Variance of a feature, relative to the median feature, below which the feature is called near-constant.
NEAR_CONSTANT = 1e-4

#: Difference between the two definitions of R2 from which on the reader is told.
_FAR = 0.1


class R2:
    """Streaming coefficient of determination, computed in one pass and independent of the batch size.

    Sums of squares are about the running mean and merged in float64 (Chan et al. 1983), which avoids the cancellation
    caused by a large mean.

    Args:
        call: name of the calling function, for messages.
    """

    def __init__(self, call: str = "r2") -> None:
        self.call = call
        self.count = 0
        self.mean = self.total = self.residual = torch.zeros((), dtype=torch.float64)

    def update(self, a: Tensor, a_hat: Tensor) -> R2:
        """Add rows ``a`` (n, d) and their reconstruction ``a_hat`` (n, d).

        Raises:
            ArgumentError: if the shapes do not match, also those of earlier rows, or a value or its square is NaN or
                infinite.
        """
        require_real(self.call, a=a, a_hat=a_hat)
        require_finite(self.call, a=a, a_hat=a_hat)
        return self.merge(sums_of_rows(self.call, [(a, a_hat)])[0])

    def merge(self, other: R2) -> R2:
        """Add the rows of another accumulator.

        Raises:
            ArgumentError: if its rows have another number of features.
        """
        if not other.count:
            return self
        if self.count and self.mean.shape != other.mean.shape:
            raise ArgumentError(
                f"{self.call}: rows of {len(other.mean)} features cannot be added to rows of {len(self.mean)}; "
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
        return float(self.per_feature().mean())

    def per_feature(self) -> Tensor:
        """Return the R2 of each feature that varies, float64."""
        varies = self.varies()
        return 1 - self.residual[varies] / self.total[varies]

    def varies(self) -> Tensor:
        """Return (d,) bool: False for constant features."""
        # The mean of equal float64 values may be off by some ulps; such a feature is constant. For float32 values the
        # sums are exact, and the bound lies far below the smallest variance that they can have.
        rounding = self.count * (16 * torch.finfo(torch.float64).eps * self.mean) ** 2
        return self.total > rounding

    def fvu(self) -> float:
        """Return the fraction of variance unexplained, with the sums of squares pooled over features; see ``fvu``."""
        if not bool(self.varies().any()):
            return math.nan
        return float(self.residual.sum() / self.total.sum())


def sums_of_rows(call: str, parts: Sequence[tuple[Tensor, Tensor]]) -> list[R2]:
    """Return the sums of each part by itself, all parts checked together: a GPU then waits once.

    Args:
        call: name of the calling function, for messages.
        parts: finite rows (n, d) and their reconstruction (n, d).

    Raises:
        ArgumentError: if the shapes do not match, or a square is infinite.
    """
    sums = []
    for a, a_hat in parts:
        if a.shape != a_hat.shape or a.ndim != 2:
            raise ArgumentError(
                f"{call}: a {tuple(a.shape)} and a_hat {tuple(a_hat.shape)} must have the same shape (n, d)."
            )
        part = R2(call)
        sums.append(part)
        if len(a):
            rows, predicted = a.double(), a_hat.double()
            part.count = len(rows)
            part.mean = rows.mean(0)
            part.total = ((rows - part.mean) ** 2).sum(0)
            part.residual = ((rows - predicted) ** 2).sum(0)
    squares = [tensor for part in sums if part.count for tensor in (part.total, part.residual)]
    if squares and not is_finite(torch.stack(squares)):
        raise ArgumentError(
            f"{call}: squares of a or of a - a_hat exceed the range of float64; divide both by a constant."
        )
    return sums


def r2(a: Tensor, a_hat: Tensor) -> float:
    """Return the R2 of a reconstruction ``a_hat`` (n, d) of ``a`` (n, d); see :meth:`R2.compute`.

    Raises:
        ArgumentError: as :meth:`R2.update`.
    """
    return R2().update(a, a_hat).compute()


class GroupEstimate(NamedTuple):
    """Estimate from all images, and its jackknife."""

    value: float
    without_group: list[float]
    """estimates without one group of images each, in the order of the groups"""
    n_tokens: int

    @property
    def error(self) -> float | None:
        """Jackknife standard error."""
        return jackknife_standard_error(self.without_group)

    def score(self, metric: str, direction: Any = "higher", unit: str = "fraction", **details: Any) -> Score:
        """Return the estimate as a score, with the estimates without one group in the details."""
        values = {"without_group": [None if math.isnan(value) else value for value in self.without_group], **details}
        kind = "jackknife over groups of images"
        return Score(metric, self.value, self.n_tokens, self.error, kind, unit, direction, values)


class _LastBatch:
    """Sums of the groups of the batch before, which R2 and the fraction of variance unexplained share.

    A batch is recognised by its tensors, which are not kept alive.
    """

    def __init__(self) -> None:
        self._computed = threading.local()

    def sums(self, batch: Batch) -> list[tuple[int, R2]]:
        """Return (group, sums of its images) of each group that occurs in the batch."""
        tensors = (batch.image, batch.a, batch.a_hat)
        last = getattr(self._computed, "last", None)
        if last is None or any(reference() is not tensor for reference, tensor in zip(last[0], tensors, strict=True)):
            last = ([weakref.ref(tensor) for tensor in tensors], _group_sums(batch))
            self._computed.last = last
        return last[1]


_LAST_BATCH = _LastBatch()


def _group_sums(batch: Batch) -> list[tuple[int, R2]]:
    """Return (group, sums of its images) of each group that occurs in the batch."""
    require_real("r2", a=batch.a, a_hat=batch.a_hat)
    require_finite("r2", a=batch.a, a_hat=batch.a_hat)
    group = batch.image % _GROUPS
    present = torch.unique(group).tolist()
    parts = [(batch.a[group == one].flatten(0, 1), batch.a_hat[group == one].flatten(0, 1)) for one in present]
    return list(zip(present, sums_of_rows("r2", parts), strict=True))


class GroupedR2:
    """Sums of squares of ten groups of evaluation images.

    The group of an image is its index in the split modulo 10: the same for every method and batch size, so estimates
    without one group are paired between methods. Groups without a readable image are left out.
    """

    def __init__(self) -> None:
        self.groups = [R2() for _ in range(_GROUPS)]

    def update(self, batch: Batch) -> None:
        """Add a batch of images."""
        for group, sums in _LAST_BATCH.sums(batch):
            self.groups[group].merge(sums)

    def merged(self) -> R2:
        """Return the sums of all images."""
        return _merged(self.groups)

    def estimate(self, statistic: Callable[[R2], float]) -> GroupEstimate:
        """Return a statistic of the sums of all images, and of those without one group."""
        used = [group for group in self.groups if group.count]
        without_one = [statistic(_merged(group for group in used if group is not left_out)) for left_out in used]
        return GroupEstimate(statistic(_merged(used)), without_one, sum(group.count for group in used))


class GroupedReconstruction(Metric):
    """Base of the metrics that are a statistic of the sums of :class:`GroupedR2`."""

    needs_network = False

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        # A virtual method returns the original output, so its reconstruction is meaningless.
        return not method.spec.virtual

    def __init__(self, baseline: Baseline) -> None:
        super().__init__(baseline)
        self.groups = GroupedR2()

    def update(self, batch: Batch) -> None:
        self.groups.update(batch)


@METRICS.register()
class ReconstructionR2(GroupedReconstruction):
    """R2 over all tokens of the evaluation split, mean over features.

    The standard error is a delete-a-group jackknife over ten groups of images, because tokens of one image are not
    independent. A feature that hardly varies can have any negative R2 and decide the mean. Details: the number of
    features that are ``constant`` (left out), ``near_constant`` (variance below 1e-4 of the median feature's) and
    ``below_minus_one``, the lowest R2 of a feature, and the estimates ``without_group``. A note says so if the pooled
    R2 (``r2_pooled``, which weights features by their variance) differs by more than .1.
    """

    id = "r2"
    title = "R2"
    reference = "ELUDe paper, section 4.1; mean over features of 1 - SSE / SST"

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        sums = self.groups.merged()
        features = _feature_counts(sums)
        value, pooled = sums.compute(), 1 - sums.fvu()
        if abs(value - pooled) > _FAR:
            outcome.notes.append(
                f"r2 is {value:.4g} as a mean over features and {pooled:.4g} pooled over them (r2_pooled): "
                f"{features['below_minus_one']} of {len(sums.mean)} features are below -1, and "
                f"{features['near_constant']} hardly vary."
            )
        yield self.groups.estimate(R2.compute).score(self.id, **features)


def _feature_counts(sums: R2) -> dict[str, Any]:
    """Return the numbers of features that are constant, near-constant, and below -1, and the lowest R2."""
    values, total = sums.per_feature(), sums.total[sums.varies()]
    return {
        "constant": int((~sums.varies()).sum()),
        "near_constant": int((total < NEAR_CONSTANT * total.median()).sum()) if len(total) else 0,
        "below_minus_one": int((values < -1).sum()),
        "lowest": float(values.min()) if len(values) else None,
    }


def _merged(groups: Iterable[R2]) -> R2:
    """Return the sums of the rows of all groups."""
    merged = R2()
    for group in groups:
        merged.merge(group)
    return merged
