"""L0: number of active units per token."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.metrics.base import METRICS, Batch, Metric, Outcome, Score
from harness.stats import standard_error_from_sums


@METRICS.register()
class L0(Metric):
    """Mean number of units with a nonzero code per token. Dense methods have about ``n_units``."""

    id = "l0"
    title = "L0"
    unit = "units"
    direction = "lower"
    reference = "ELUDe paper, App. E.1"

    def __init__(self, baseline: Baseline) -> None:
        super().__init__(baseline)
        self.sums = torch.zeros(2, dtype=torch.float64)
        self.images = 0

    def update(self, batch: Batch) -> None:
        # Tokens of one image are not independent, so the standard error is over the means of images.
        per_image: Tensor = (batch.codes != 0).sum(-1).double().mean(-1).cpu()
        self.sums += torch.stack([per_image.sum(), (per_image**2).sum()])
        self.images += len(per_image)

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        mean, error = standard_error_from_sums(float(self.sums[0]), float(self.sums[1]), self.images)
        yield self.score(mean, outcome.units.n_tokens, error, "images")
