"""Robustness to few images: accuracy of probes that were fitted on some images per class."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.activations.pooled_codes import labelled_sample
from harness.identity import seed_of
from harness.metrics.base import METRICS, Metric, Outcome, Score
from harness.metrics.robust_curve import MOST_IMAGES, Level, Probes, RobustCurve, has_curve, majority_share, of_images
from methods import numerics
from methods.base import Method

#: Numbers of images per class, and draws of these.
SHOTS = (1, 2, 5, 10)
DRAWS = 10


def few_images(labels: Tensor, shots: int, draw: int) -> Tensor:
    """Return ascending positions of ``shots`` images of each class, without replacement.

    The images of fewer shots are among those of more.

    Args:
        labels: (n,) int64.
        shots: images per class; all of a class with fewer.
        draw: number of the draw, which seeds it: the same for all methods.
    """
    order = np.random.default_rng(seed_of("few-shot images", draw)).permutation(len(labels))
    shuffled = labels.numpy()[order]
    chosen = [order[shuffled == label][:shots] for label in np.unique(shuffled)]
    return torch.from_numpy(np.sort(np.concatenate(chosen)))


@METRICS.register()
class RobustFewShot(Metric):
    """Accuracy of probes that were fitted on 1, 2, 5 and 10 images per class.

    The probe is that of ``probe_dense``, fitted on that many probing images of each class and measured on the
    evaluation images (at most 1000, each class in proportion). Images are drawn ten times, in the same way for codes
    and layer and for all methods. ``robust_few_shot`` is the mean accuracy over the numbers of images and draws,
    ``robust_few_shot_layer`` that with the neurons of the layer, and ``robust_few_shot_gain`` the difference; the
    standard errors are over images, plus the variance between draws. The details have the curve with all probing images
    as its first point, which is not in the mean, and ``majority``, the accuracy of the most frequent class.

    Numbers beyond the images of the smallest class are left out, with a note: its probe would not be a few-shot one of
    that number. More units fit more: compare with a random control of equally many units. Codes with NaN or infinity
    are an error.
    """

    id = "robust_few_shot"
    title = "accuracy of probes fitted on few images"
    reference = "Zhang et al. 2024; docs/robustness.md"
    default = False
    needs_network = False
    needs_image_codes = True

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        return has_curve(method, baseline)

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        assert outcome.image_codes is not None
        train, every = outcome.image_codes
        test = of_images(every, torch.from_numpy(labelled_sample(self.baseline.images, MOST_IMAGES)))
        test = test.of_classes(train.labels)
        smallest = int(train.labels.unique(return_counts=True)[1].min())
        numbers = [number for number in SHOTS if number <= smallest]
        if len(numbers) < len(SHOTS):
            left_out = ", ".join(str(number) for number in SHOTS if number not in numbers)
            outcome.notes.append(
                f"{self.id} leaves out {left_out} images per class: the smallest class has {smallest} probing images."
            )
        probes = Probes(self.id, len(self.baseline.images.classes), outcome.baseline.passes.backbone.device)

        def level(number: int) -> Level:
            right = [
                probes.right(probes.fit(train, train.labels, few_images(train.labels, number, draw)), test)
                for draw in range(DRAWS)
            ]
            return Level({"shots": number}, *(np.stack(side) for side in zip(*right, strict=True)))

        with numerics.sklearn_threads():
            full = probes.right(probes.fit(train, train.labels), test)
            clean = Level({"shots": None}, full.codes[None], full.layer[None])
            curve = RobustCurve(test.image, majority_share(train, test), clean, [level(number) for number in numbers])
        yield from curve.scores(self.id, {"shots": numbers, "draws": DRAWS}, {"n_probing": len(train.labels)})
