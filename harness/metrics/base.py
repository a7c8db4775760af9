"""The contract of a metric: ``update`` with every batch of the one pass over the evaluation split, then ``compute``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.stats import clustered_standard_error
from methods.registry import Registry

if TYPE_CHECKING:
    from harness.activations.baseline import Baseline
    from harness.activations.unit_statistics import UnitStatistics
    from methods.base import Method

Direction = Literal["higher", "lower", "none"]


def _problem(cls: Any) -> str | None:
    if not (isinstance(cls, type) and issubclass(cls, Metric)):
        return "it is no class derived from harness.metrics.base.Metric"
    missing = [name for name in ("id", "title", "reference") if not isinstance(getattr(cls, name, None), str)]
    return f"it lacks {', '.join(missing)}" if missing else None


METRICS: Registry[type[Metric]] = Registry("metric", "harness.metrics", package="harness.metrics", check=_problem)


class Batch(NamedTuple):
    """One batch of the evaluation pass: B images of T tokens."""

    image: Tensor
    """(B,) int64: image index in the evaluation split"""
    label: Tensor
    """(B,) int64 class, -1 where there is none"""
    a: Tensor
    """(B, T, d_out) the layer's original output"""
    a_hat: Tensor
    """(B, T, d_out) its reconstruction"""
    codes: Tensor
    """(B, T, n_units)"""
    clean_logits: Tensor
    """(B, n_classes) of the unmodified network"""
    logits: Tensor
    """(B, n_classes) of the network with a replaced by a_hat for all tokens"""


@dataclass
class Outcome:
    """What is known when the pass is over."""

    method: Method
    units: UnitStatistics
    baseline: Baseline
    d_out: int
    unit_columns: dict[str, np.ndarray] = field(default_factory=dict)
    """Per-unit results (n_units,) that metrics leave for others; ``ms_score`` and ``redundancy`` are stored."""
    notes: list[str] = field(default_factory=list)
    """Sentences that metrics leave for the reader of the cell."""

    def error_over_units(self, values: Tensor, scored: Tensor) -> tuple[float | None, str]:
        """The standard error of the mean of a per-unit result, with its kind.

        Units of one parent are not independent: they count as one cluster.

        Args:
            values: (n_units,) float64.
            scored: (n_units,) bool: the units that the mean is over.
        """
        parents = self.method.parents
        clusters = torch.arange(len(values)) if parents is None else parents.cpu()
        kind = "units" if parents is None else "units, clustered by parent"
        return clustered_standard_error(values[scored].numpy(), clusters[scored].numpy()), kind


class Score(NamedTuple):
    """One number of one cell."""

    metric: str
    value: float
    """NaN where it is undefined"""
    n: int
    """what the value is an average over"""
    uncertainty: float | None = None
    """standard error"""
    uncertainty_kind: str | None = None
    unit: str = "fraction"
    direction: Direction = "higher"
    details: Mapping[str, Any] | None = None
    """evidence and circumstances; they do not tell scores apart"""
    params: dict[str, Any] | None = None
    """settings that tell this score apart, where they are not the metric's own :attr:`Metric.params`"""


class Metric(ABC):
    """Base class of every metric. A plugin sets the class attributes and implements :meth:`compute`.

    One instance serves one pass of one method.
    """

    id: ClassVar[str]
    version: ClassVar[int] = 1
    title: ClassVar[str]
    unit: ClassVar[str] = "fraction"
    direction: ClassVar[Direction] = "higher"
    reference: ClassVar[str]
    default: ClassVar[bool] = True
    """Whether a suite that names no metrics measures it."""
    timed: ClassVar[bool] = False
    """Whether it measures time, so that it is never twice the same."""

    def __init__(self, baseline: Baseline) -> None:
        self.baseline = baseline

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        """Whether the metric means anything for this method and evaluation split; it is left out otherwise."""
        return True

    @property
    def params(self) -> dict[str, Any]:
        """Settings that change the value: rows that differ in them are never ranked together."""
        return {}

    def update(self, batch: Batch) -> None:  # noqa: B027 - many metrics need no pass of their own
        """Take in one batch; memory must not grow with the number of batches."""

    @abstractmethod
    def compute(self, outcome: Outcome) -> Iterable[Score]:
        """The scores: the one named :attr:`id` first, then companions (``<id>_adjusted``, ``floor_...``)."""

    def score(self, value: float, n: int, uncertainty: float | None = None, kind: str | None = None) -> Score:
        """A score under the metric's own id, unit and direction."""
        return Score(self.id, value, n, uncertainty, kind, self.unit, self.direction)
