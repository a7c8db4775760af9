"""Agreement of the network's predictions before and after its layer is replaced."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from harness.activations.baseline import Baseline
from harness.activations.heads.base import predictions
from harness.metrics.base import METRICS, Batch, Metric, Outcome, Score
from harness.metrics.image_share import ImageShare
from harness.metrics.recovered_share import recovered_scores
from harness.stats import proportion_standard_error, standard_error_from_sums
from methods.base import Method


@METRICS.register()
class Agreement(Metric):
    """Share of evaluation images whose top prediction equals the unmodified network's.

    Companions: ``kl``, the mean Kullback-Leibler divergence of the new class distribution from the original one, in
    nats; ``floor_zero_agreement`` and ``floor_mean_agreement``, with the layer's output set to zero or to its mean; and
    ``agreement_recovered = (agreement - mean) / (1 - mean)``: 0 for mean ablation, 1 for the unmodified network. It is
    left out, with a note, if mean ablation changes no more predictions than two standard errors.
    """

    id = "agreement"
    title = "agreement with the original"
    reference = "top-1 agreement and KL(original || replaced)"

    def __init__(self, baseline: Baseline) -> None:
        super().__init__(baseline)
        self.same = ImageShare(len(baseline.images))
        self.divergence = self.divergence_squared = 0.0

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        return not method.spec.virtual

    def update(self, batch: Batch) -> None:
        self.same.update(batch.image, predictions(batch.logits) == batch.clean_logits.argmax(-1))
        original = torch.log_softmax(batch.clean_logits.double(), -1)
        replaced = torch.log_softmax(batch.logits.double(), -1)
        divergence = (original.exp() * (original - replaced)).sum(-1).clamp_min(0)
        self.divergence += float(divergence.sum())
        self.divergence_squared += float((divergence**2).sum())

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        value, count = self.same.share, self.same.count
        outcome.image_outcomes[self.id] = self.same.outcomes()
        yield self.score(value, count, proportion_standard_error(value, count), "images")
        mean, error = standard_error_from_sums(self.divergence, self.divergence_squared, count)
        yield Score("kl", mean, count, error, "images", "nat", "lower")
        counted, same = self.same.outcomes()
        levels = {name: outcomes.unchanged & counted for name, outcomes in self.baseline.floor_outcomes.items()}
        for name, floor in self.baseline.floors.items():
            if name != "original":
                yield Score(f"floor_{name}_agreement", floor.agreement, count, direction="none")
                outcome.image_outcomes[f"floor_{name}_agreement"] = (counted, levels[name])
        if count and levels:
            sides = (same[counted], np.ones(count, dtype=bool), levels["mean"][counted])
            yield from recovered_scores("agreement", outcome, *sides)
