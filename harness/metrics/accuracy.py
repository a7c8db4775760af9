"""Accuracy of the network after the layer's output is replaced by its reconstruction."""

from __future__ import annotations

from collections.abc import Iterable

from harness.activations.baseline import Baseline
from harness.activations.heads.base import predictions
from harness.metrics.base import METRICS, Batch, Metric, Outcome, Score
from harness.metrics.image_share import ImageShare
from harness.metrics.recovered_share import recovered_scores
from harness.stats import proportion_standard_error
from methods.base import Method


@METRICS.register()
class Accuracy(Metric):
    """Share of labelled evaluation images that the head classifies correctly after the layer is replaced.

    Companions: ``floor_zero_accuracy`` and ``floor_mean_accuracy``, with the layer's output set to zero or to its mean
    for all tokens, which show how much the network depends on this layer; and ``floor_original_accuracy``, the accuracy
    of the unmodified network, which is a ceiling; and ``accuracy_recovered = (accuracy - mean) / (original - mean)``,
    the share of what the layer adds to the accuracy that is left: 0 for mean ablation, 1 for the unmodified network,
    and more for a better accuracy than that. It is left out, with a note, if the layer does not add more than two
    standard errors over the images. The metric is skipped if the head's classes are not the images' classes.
    """

    id = "accuracy"
    title = "accuracy"
    reference = "ELUDe paper, section 4.1"

    def __init__(self, baseline: Baseline) -> None:
        super().__init__(baseline)
        self.right = ImageShare(len(baseline.images))

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        labelled = bool((baseline.images.labels >= 0).any())
        return labelled and baseline.head.predicts_labels and not method.spec.virtual

    def update(self, batch: Batch) -> None:
        target = self.baseline.head.targets(batch.label)
        self.right.update(batch.image, predictions(batch.logits) == target, target >= 0)

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        value, count = self.right.share, self.right.count
        outcome.image_outcomes[self.id] = self.right.outcomes()
        yield self.score(value, count, proportion_standard_error(value, count), "images")
        counted, right = self.right.outcomes()
        levels = {name: outcomes.right & counted for name, outcomes in self.baseline.floor_outcomes.items()}
        for name, floor in self.baseline.floors.items():
            yield Score(f"floor_{name}_accuracy", floor.accuracy, count, direction="none")
            outcome.image_outcomes[f"floor_{name}_accuracy"] = (counted, levels[name])
        if count and levels:
            sides = (right[counted], levels["original"][counted], levels["mean"][counted])
            yield from recovered_scores("accuracy", outcome, *sides)
