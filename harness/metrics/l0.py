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
