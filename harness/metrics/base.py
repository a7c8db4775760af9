"""Contract of a metric: ``update`` with each batch of one pass over the evaluation split, then ``compute``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.stats import clustered_standard_error
from methods.registry import Registry

if TYPE_CHECKING:
    from harness.activations.baseline import Baseline
    from harness.activations.pooled_codes import ImageCodes, LabelledCodes, Split
    from harness.activations.unit_statistics import UnitStatistics
    from harness.alterations import Alteration
    from methods.base import Method

Direction = Literal["higher", "lower", "none"]


def _problem(cls: Any) -> str | None:
    """Return the reason why an object cannot be registered as a metric, or None."""
    if not (isinstance(cls, type) and issubclass(cls, Metric)):
        return "it is not a subclass of harness.metrics.base.Metric"
    missing = [name for name in ("id", "title", "reference") if not isinstance(getattr(cls, name, None), str)]
    return f"it lacks the class attributes {', '.join(missing)}" if missing else None


METRICS: Registry[type[Metric]] = Registry("metric", "harness.metrics", package="harness.metrics", check=_problem)


class Batch(NamedTuple):
    """Batch of the evaluation pass: B images of T tokens."""

    image: Tensor
    """(B,) int64 index of each image in the evaluation split"""
    label: Tensor
    """(B,) int64 class of each image, -1 for unlabelled ones"""
    a: Tensor
    """(B, T, d_out) original output of the layer"""
    a_hat: Tensor
    """(B, T, d_out) reconstruction of ``a``"""
    codes: Tensor
    """(B, T, n_units) codes of the units"""
    clean_logits: Tensor
    """(B, n_classes) logits of the unmodified network; (B, 0) if no metric needs the network"""
    logits: Tensor
    """(B, n_classes) logits of the network with ``a`` replaced by ``a_hat`` for all tokens; (B, 0) likewise"""
    peak: Tensor
    """(B, n_units) largest code of each unit over the image's tokens"""
    peak_token: Tensor
    """(B, n_units) int64 token of that code; ties as in the table of units"""


@dataclass
class Outcome:
    """Results of the whole pass, from which :meth:`Metric.compute` derives the scores."""

    method: Method
    units: UnitStatistics
    baseline: Baseline
    d_out: int
    unit_columns: dict[str, np.ndarray] = field(default_factory=dict)
    """Name -> per-unit results (n_units,) that metrics add. Columns of the table of units are stored."""
    image_outcomes: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    """Metric id -> (counted, positive), each (n_images,) bool over the evaluation split.

    Metrics that are shares of images add them; they are stored, so that methods are compared image by image."""
    image_codes: ImageCodes | None = None
    """Codes of labelled images of both splits, if a metric needs them."""
    altered_codes: Callable[[Alteration, Split], LabelledCodes] | None = None
    """Returns the codes of a split's images after an alteration. Each call takes a pass over them."""
    first_set_codes: LabelledCodes | None = None
    """Codes of labelled evaluation images of the set of the fit, on a further set and if a metric needs them."""
    notes: list[str] = field(default_factory=list)
    """Notes that metrics add, for the reader of the cell."""

    def error_over_units(self, values: Tensor, scored: Tensor) -> tuple[float | None, str]:
        """Return the standard error of the mean of per-unit ``values`` (n_units,) over ``scored`` (bool), and its kind.

        Units of one parent are not independent, so they form one cluster.
        """
        parents = self.method.parents
        clusters = torch.arange(len(values)) if parents is None else parents.cpu()
        kind = "units" if parents is None else "units, clustered by parent"
        return clustered_standard_error(values[scored].numpy(), clusters[scored].numpy()), kind


class Score(NamedTuple):
    """One number of one cell."""

    metric: str
    value: float
    """NaN if it is undefined"""
    n: int
    """number of items that the value is an average over"""
    uncertainty: float | None = None
    """standard error"""
    uncertainty_kind: str | None = None
    unit: str = "fraction"
    direction: Direction = "higher"
    details: Mapping[str, Any] | None = None
    """further results and conditions, which do not distinguish scores"""
    params: dict[str, Any] | None = None
    """settings that distinguish this score; None means :attr:`Metric.params`"""


class Metric(ABC):
    """Base class of all metrics. A plugin sets the class attributes and implements :meth:`compute`.

    Each pass over a method has its own instance.
    """

    id: ClassVar[str]
    version: ClassVar[int] = 1
    title: ClassVar[str]
    unit: ClassVar[str] = "fraction"
    direction: ClassVar[Direction] = "higher"
    reference: ClassVar[str]
    default: ClassVar[bool] = True
    """True if suites that name no metrics compute this metric."""
    timed: ClassVar[bool] = False
    """True if the metric measures time, so its values are not reproducible."""
    needs_network: ClassVar[bool] = True
    """False if the metric reads neither logits nor the network: codes, outputs and reconstructions are enough. A cell
    of such metrics alone, of a method that reads the layer's output, is measured on the stored outputs of the baseline.
    """
    needs_dictionary: ClassVar[bool] = False
    """True if the metric reads the atoms of ``method.dictionary()``. A method whose decoder is not linear has none: the
    metric is then left out, with a note in the cell."""

    needs_image_codes: ClassVar[bool] = False
    """True if the metric reads :attr:`Outcome.image_codes`, for which the probing images are encoded too."""

    needs_first_set: ClassVar[bool] = False
    """True if the metric is measured on further image sets only and reads :attr:`Outcome.first_set_codes`. The
    evaluation images of the set of the fit are then part of the cell's identity."""

    needs_hierarchy: ClassVar[bool] = False
    """True if the metric reads the class hierarchy of the images, which is then part of the cell's identity."""
    needs_encoder: ClassVar[bool] = False
    """True if the metric reads :attr:`Baseline.external`, the embeddings of the images by another backbone. Its name is
    then part of the cell's identity."""

    def __init__(self, baseline: Baseline) -> None:
        self.baseline = baseline

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        """Return True if the metric is meaningful for this method and evaluation split. It is skipped otherwise."""
        return True

    @property
    def params(self) -> dict[str, Any]:
        """Settings that change the value. Rows that differ in them are never ranked together."""
        return {}

    def update(self, batch: Batch) -> None:  # noqa: B027 - many metrics need no pass of their own
        """Add one batch. Memory must not grow with the number of batches."""

    @abstractmethod
    def compute(self, outcome: Outcome) -> Iterable[Score]:
        """Return the scores: the one named :attr:`id` first, then companions (``<id>_adjusted``, ``floor_...``)."""

    def unit_scores(self, outcome: Outcome, values: Tensor) -> tuple[Score, Score]:
        """Return the mean of per-unit ``values`` (n_units,), NaN for dead and undefined units, and ``<id>_undefined``.

        The values become a column of the table of units.
        """
        outcome.unit_columns[self.id] = values.numpy()
        scored = ~values.isnan()
        n, alive = int(scored.sum()), int(outcome.units.alive.sum())
        mean = self.score(float(values[scored].mean()), n, *outcome.error_over_units(values, scored))
        return mean, Score(f"{self.id}_undefined", float(alive - n), alive, unit="units", direction="none")

    def score(self, value: float, n: int, uncertainty: float | None = None, kind: str | None = None) -> Score:
        """Return a score with the metric's id, unit and direction."""
        return Score(self.id, value, n, uncertainty, kind, self.unit, self.direction)
