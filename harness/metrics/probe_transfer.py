"""Transfer of a probe: fitted on the image set of the method's fit, and measured on a further image set."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.activations.heads.probe import fit_head
from harness.activations.pooled_codes import LabelledCodes
from harness.metrics.base import METRICS, Metric, Outcome, Score
from harness.metrics.sparse_probe import right_images
from harness.stats import clustered_standard_error, proportion_standard_error
from methods import numerics
from methods.base import Method

#: Fewest shared classes of a probe, and most names of them in the details.
FEWEST_CLASSES, MOST_NAMES = 2, 100


class _Right(NamedTuple):
    """Predictions of one probe, 1 for a right and 0 for a wrong one."""

    further: Tensor
    """(n,) float64, of the images of the further set"""
    first: Tensor
    """(n_first,) float64, of the evaluation images of the first set"""


@METRICS.register()
class ProbeTransfer(Metric):
    """Share of images of a further set whose class a probe predicts that was fitted on the set of the method's fit.

    The probe is that of ``probe_dense``: the code of an image is the largest over its tokens, and a logistic regression
    (L2, C = 1, standardised codes) is fitted on the probing images. It is fitted on the classes whose *names* both sets
    share, those with a labelled probing image and a labelled image of the further set, and measured on their images:
    method, probe, mean and scale of the codes are those of the first set. With fewer than two such classes there is a
    note and no score.

    Companions: ``probe_transfer_layer``, with the neurons of the layer in place of the units;
    ``probe_transfer_gain``, the difference, whose standard error is that of the paired difference over images;
    ``probe_transfer_drop``, the accuracy of the same probe on the evaluation images of the first set in these classes,
    less that on the further set; and ``probe_transfer_gain_change``, the gain on the further set less that on the first
    one: above 0 if the codes lose less than the neurons. The images of the two sets are different ones, so that the
    variances of both add up. The last two have no direction: a probe at chance loses nothing.

    Details: the accuracies on the first set; ``majority``, the accuracy of the most frequent class of the probing
    images; the shared classes; numbers of images. The metric is skipped on the set of the fit.
    """

    id = "probe_transfer"
    title = "accuracy of a probe on a further image set"
    reference = "Alain and Bengio 2016 (linear probes), Taori et al. 2020 (distribution shift); docs/probing.md"
    default = False
    needs_network = False
    needs_image_codes = True
    needs_first_set = True

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        return method.n_units > 0 and baseline.first_set is not None

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        assert outcome.image_codes is not None and outcome.first_set_codes is not None
        train, test = outcome.image_codes
        shared = torch.from_numpy(np.intersect1d(train.labels.numpy(), test.labels.numpy()))
        names = [self.baseline.images.classes[number] for number in shared.tolist()]
        if len(shared) < FEWEST_CLASSES:
            outcome.notes.append(
                f"{self.id} is not measured: {self.baseline.images.name!r} has labelled images of {len(names)} of the "
                f"classes of the probing images{''.join(f' ({name!r})' for name in names)}, and a probe needs at least "
                f"{FEWEST_CLASSES}: name the classes of both sets alike."
            )
            return
        train, test, first = (each.of_classes(shared) for each in (train, test, outcome.first_set_codes))
        with numerics.sklearn_threads():
            units = self._right("codes", train, test, first)
            layer = self._right("layer", train, test, first)
        gain, first_gain = units.further - layer.further, units.first - layer.first
        n, n_first = len(units.further), len(units.first)
        share, layer_share = float(units.further.mean()), float(layer.further.mean())
        share_error, gain_error = proportion_standard_error(share, n), _error(gain)
        details = {
            "first": float(units.first.mean()) if n_first else None,
            "first_layer": float(layer.first.mean()) if n_first else None,
            "n_first": n_first,
            "majority": float((test.labels == train.labels.mode().values).double().mean()),
            "n_probing": len(train.labels),
            "n_classes": len(names),
            "classes": names[:MOST_NAMES],
        }
        yield self.score(share, n, share_error, "images")._replace(details=details)
        outcome.image_outcomes[self.id] = test.outcomes(units.further > 0)
        layer_error = proportion_standard_error(layer_share, n)
        yield Score("probe_transfer_layer", layer_share, n, layer_error, "images", direction="none")
        yield Score("probe_transfer_gain", float(gain.mean()), n, gain_error, "images")
        if not n_first:
            return
        first_share = float(units.first.mean())
        drop_error = _error_of_both(share_error, proportion_standard_error(first_share, n_first))
        yield self._of_both("probe_transfer_drop", first_share - share, n + n_first, drop_error)
        change = float(gain.mean() - first_gain.mean())
        change_error = _error_of_both(gain_error, _error(first_gain))
        yield self._of_both("probe_transfer_gain_change", change, n + n_first, change_error)

    def _of_both(self, name: str, value: float, n: int, error: float | None) -> Score:
        """Return a score that depends on the evaluation images of the first set too: its parameters name them."""
        assert self.baseline.first_set is not None
        params = {"first_set": self.baseline.first_set.from_pixels.images.fingerprint}
        return Score(name, value, n, error, "images of both sets", direction="none", params=params)

    def _right(
        self, features: Literal["codes", "layer"], train: LabelledCodes, further: LabelledCodes, first: LabelledCodes
    ) -> _Right:
        """Return the images of both sets that a probe predicts which is fitted on features of the probing images."""
        device = self.baseline.passes.backbone.device
        head = fit_head(getattr(train, features), train.labels, len(self.baseline.images.classes), device=device)
        # Without any readable image, the features have no width either.
        sides = (
            right_images(head, getattr(side, features), side.labels).double() if len(side.labels) else torch.zeros(0)
            for side in (further, first)
        )
        return _Right(*sides)


def _error(difference: Tensor) -> float | None:
    """Return the standard error of the mean of differences (n,) over images."""
    return clustered_standard_error(difference.numpy(), np.arange(len(difference)))


def _error_of_both(further: float | None, first: float | None) -> float | None:
    """Return the standard error of a difference of means over different images."""
    return None if further is None or first is None else math.hypot(further, first)
