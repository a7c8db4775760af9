"""Logits gap: largest change of a logit after the layer is replaced."""

from __future__ import annotations

import math
from collections.abc import Iterable

from harness.activations.baseline import Baseline
from harness.metrics.base import METRICS, Batch, Metric, Outcome, Score


@METRICS.register()
class LogitsGap(Metric):
    """Largest difference of a logit over the evaluation split: evidence for "lossless".

    The value is NaN if the network produced NaN or infinity. For comparison, ``details`` has the largest absolute logit
    of the unmodified network.
    """

    id = "evidence_logits_gap"
    title = "largest logits difference"
    unit = "logit"
    direction = "lower"
    reference = "ELUDe paper, Table 1 (lossless)"

    def __init__(self, baseline: Baseline) -> None:
        super().__init__(baseline)
        self.largest = self.scale = 0.0
        self.count = 0

    def update(self, batch: Batch) -> None:
        clean = batch.clean_logits.double()
        gap = float((batch.logits.double() - clean).abs().max())
        # Python's max(0.0, nan) is 0.0, so a network that produces NaN would count as lossless.
        self.largest = max(self.largest, gap) if math.isfinite(gap) and math.isfinite(self.largest) else math.nan
        self.scale = max(self.scale, float(clean.abs().max()))
        self.count += len(batch.image)

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        details = {"largest_logit": self.scale, "virtual": outcome.method.spec.virtual}
        yield self.score(self.largest, self.count)._replace(details=details)
