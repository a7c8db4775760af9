"""Robustness to wrong labels: accuracy of probes that were fitted on partly wrong labels."""

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

#: Percentages of the probing images with a wrong label, and draws of these.
SHARES = (20, 40, 60, 80)
DRAWS = 5
#: Most probing images that the probes are fitted on, each class in proportion: there are 42 fits per method.
MOST_PROBING = 1000


def noisy_labels(labels: Tensor, share: int, draw: int) -> Tensor:
    """Return labels (n,) of which a share is replaced by another class.

    The images are drawn without replacement, and each gets one of the other classes, all equally probable. The images
    of a smaller share are among those of a larger one, with the same wrong class.

    Args:
        labels: (n,) int64.
        share: percentage of the images, rounded to a whole number of them.
        draw: number of the draw, which seeds it: the same for all methods.
    """
    classes, positions = labels.unique(return_inverse=True)
    generator = np.random.default_rng(seed_of("label noise", draw))
    order = generator.permutation(len(labels))
    offsets = generator.integers(1, max(len(classes), 2), len(labels))
    chosen = torch.from_numpy(order[: round(len(labels) * share / 100)])
    noisy = labels.clone()
    noisy[chosen] = classes[(positions[chosen] + torch.from_numpy(offsets)[chosen]) % len(classes)]
    return noisy


def informative_shares(n_classes: int) -> list[int]:
    """Return the shares below 1 - 1 / n_classes: from there on, the true class is not the most probable label."""
    return [share for share in SHARES if share * n_classes < 100 * (n_classes - 1)]


@METRICS.register()
class RobustLabels(Metric):
    """Accuracy of probes that were fitted on partly wrong labels, on images with correct ones.

    Of 20, 40, 60 and 80 % of the probing images (at most 1000 in all, each class in proportion), the label is replaced
    by another class, drawn uniformly. The probe is that of ``probe_dense``, fitted on these labels and measured on the
    evaluation images (at most 1000) with their own. Images and classes are drawn five times, in the same way for codes
    and layer and for all methods. ``robust_labels`` is the mean accuracy over shares and draws, ``robust_labels_layer``
    that with the neurons of the layer, and ``robust_labels_gain`` the difference; the standard errors are over images,
    plus the variance between draws. The details have the curve with the correct labels as its first point, which is not
    in the mean, and ``majority``, the accuracy of the most frequent class.

    Shares at which the true class is not the most probable label (from 1 - 1/C for C classes) are left out, with a
    note. More units fit more, correct and wrong labels alike: compare with a random control of equally many units.
    Codes with NaN or infinity are an error.
    """

    id = "robust_labels"
    title = "accuracy of probes fitted on wrong labels"
    reference = "Zhang et al. 2024; docs/robustness.md"
    default = False
    needs_network = False
    needs_image_codes = True

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        return has_curve(method, baseline)

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        assert outcome.image_codes is not None and self.baseline.probing is not None
        probing, every = outcome.image_codes
        train = of_images(probing, torch.from_numpy(labelled_sample(self.baseline.probing.images, MOST_PROBING)))
        test = of_images(every, torch.from_numpy(labelled_sample(self.baseline.images, MOST_IMAGES)))
        test = test.of_classes(train.labels)
        shares = informative_shares(len(train.labels.unique()))
        if len(shares) < len(SHARES):
            left_out = ", ".join(f"{share} %" for share in SHARES if share not in shares)
            outcome.notes.append(
                f"{self.id} leaves out {left_out} wrong labels: of {len(train.labels.unique())} classes, the true one "
                "is then not the most probable label."
            )
        probes = Probes(self.id, len(self.baseline.images.classes), outcome.baseline.passes.backbone.device)

        def level(share: int, draws: int) -> Level:
            right = [
                probes.right(probes.fit(train, noisy_labels(train.labels, share, draw)), test) for draw in range(draws)
            ]
            return Level({"share": share}, *(np.stack(side) for side in zip(*right, strict=True)))

        with numerics.sklearn_threads():
            curve = RobustCurve(test.image, majority_share(train, test), level(0, 1))
            curve.levels += [level(share, DRAWS) for share in shares]
        yield from curve.scores(self.id, {"shares": shares, "draws": DRAWS}, {"n_probing": len(train.labels)})
