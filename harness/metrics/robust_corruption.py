"""Robustness to corrupted images: accuracy of a probe that was fitted on clean images."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from harness.activations.baseline import Baseline
from harness.alterations import ALTERATIONS
from harness.errors import UserError
from harness.metrics.base import METRICS, Metric, Outcome, Score
from harness.metrics.robust_curve import Level, Probes, RobustCurve, Sides, has_curve, majority_share, of_images
from methods import numerics
from methods.base import Method

#: Alterations of the curve: noise, blur, weather and two digital ones of ImageNet-C.
CORRUPTIONS = ("gaussian_noise", "gaussian_blur", "brightness", "contrast", "pixelate")
SEVERITIES = (1, 2, 3, 4, 5)


@METRICS.register()
class RobustCorruption(Metric):
    """Accuracy of a probe on corrupted images, which was fitted on clean ones.

    The probe is that of ``probe_dense``: logistic regression (L2, C = 1) on the standardised codes of all units, the
    largest over the tokens, of the clean probing images. It is measured on the evaluation images (at most 1000, each
    class in proportion) after each of five corruptions of ImageNet-C (Gaussian noise, Gaussian blur, brightness,
    contrast, pixelation) at five severities. ``robust_corruption`` is the mean accuracy over the 25 levels,
    ``robust_corruption_layer`` the same with the neurons of the layer, and ``robust_corruption_gain`` the difference;
    its standard error is over images, each with its mean over the levels. The details have the curve with the clean
    images as its first point, which is not in the mean, and ``majority``, the accuracy of the most frequent class.

    More units fit more: only a random control with equally many units tells if a gain is due to what the units mean.
    Memory is that of one level. Codes with NaN or infinity are an error.
    """

    id = "robust_corruption"
    title = "accuracy of a probe on corrupted images"
    reference = "Zhang et al. 2024; Hendrycks and Dietterich 2019 (ImageNet-C); docs/robustness.md"
    default = False
    needs_network = False
    needs_image_codes = True

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        return has_curve(method, baseline)

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        assert outcome.image_codes is not None and outcome.altered_codes is not None
        train, every = outcome.image_codes
        probes = Probes(self.id, len(self.baseline.images.classes), outcome.baseline.passes.backbone.device)
        images: torch.Tensor | None = None
        levels: list[Level] = []
        with numerics.sklearn_threads():
            heads = probes.fit(train, train.labels)
            for name in CORRUPTIONS:
                for severity in SEVERITIES:
                    altered = outcome.altered_codes(ALTERATIONS.get(name)(severity), "evaluation")
                    altered = altered.of_classes(train.labels)
                    images = altered.image if images is None else images
                    if not torch.equal(altered.image, images):
                        raise UserError(f"{self.id}: some images could be read at one severity only; run again.")
                    right = probes.right(heads, altered)
                    levels.append(_level({"corruption": name, "severity": severity}, right))
            assert images is not None
            clean = of_images(every, images)
            if not torch.equal(clean.image, images):
                raise UserError(f"{self.id}: some altered images have no clean codes; run again.")
            first = _level({"corruption": "none", "severity": 0}, probes.right(heads, clean))
        curve = RobustCurve(images, majority_share(train, clean), first, levels)
        params = {"corruptions": list(CORRUPTIONS), "severities": list(SEVERITIES)}
        yield from curve.scores(self.id, params, {"n_probing": len(train.labels)})


def _level(name: dict[str, str | int], right: Sides) -> Level:
    return Level(name, right.codes[None], right.layer[None])
