"""Dense probing: how well all units together predict the class of an image."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from harness.activations.baseline import Baseline
from harness.activations.heads.probe import fit_head
from harness.activations.pooled_codes import LabelledCodes
from harness.metrics.base import METRICS, Metric, Outcome, Score
from harness.metrics.sparse_probe import has_classes, right_images
from harness.stats import clustered_standard_error, proportion_standard_error
from methods import numerics
from methods.base import Method


@METRICS.register()
class ProbeDense(Metric):
    """Share of evaluation images whose class a probe predicts from the codes of all units.

    As ``sparse_probe_k``, with all units: the code of an image is the largest over its tokens, and the probe (logistic
    regression, L2, C = 1, standardised codes) is fitted on the probing images. Companions: ``probe_dense_layer``, with
    the neurons of the layer in place of the units, and ``probe_dense_gain``, the difference, whose standard error is
    that of the paired difference over images. More units fit more, so compare methods with equally many; the detail
    ``majority`` is the accuracy of the most frequent class.
    """

    id = "probe_dense"
    title = "accuracy of a probe on all units"
    reference = "SAEBench and Alain and Bengio 2016 (linear probes); docs/probing.md"
    default = False
    needs_network = False
    needs_image_codes = True

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        return method.n_units > 0 and has_classes(baseline)

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        assert outcome.image_codes is not None
        train, every = outcome.image_codes
        test = every.of_classes(train.labels)
        with numerics.sklearn_threads():
            right = self._right(outcome, train, test, layer=False)
            of_layer = self._right(outcome, train, test, layer=True)
        n = len(test.labels)
        share, layer_share = float(right.double().mean()), float(of_layer.double().mean())
        majority = float((test.labels == train.labels.mode().values).double().mean())
        details = {"majority": majority, "n_probing": len(train.labels)}
        yield self.score(share, n, proportion_standard_error(share, n), "images")._replace(details=details)
        outcome.image_outcomes[self.id] = test.outcomes(right)
        error = proportion_standard_error(layer_share, n)
        yield Score("probe_dense_layer", layer_share, n, error, "images", direction="none")
        difference = right.double() - of_layer.double()
        yield Score(
            "probe_dense_gain",
            share - layer_share,
            n,
            clustered_standard_error(difference.numpy(), np.arange(n)),
            "images",
        )

    def _right(self, outcome: Outcome, train: LabelledCodes, test: LabelledCodes, *, layer: bool) -> torch.Tensor:
        x, test_x = (train.layer, test.layer) if layer else (train.codes, test.codes)
        device = outcome.baseline.passes.backbone.device
        return right_images(
            fit_head(x, train.labels, len(self.baseline.images.classes), device=device), test_x, test.labels
        )
