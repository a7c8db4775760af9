"""Class purity: share of the most frequent class among a unit's top images."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from harness.activations.baseline import Baseline
from harness.activations.random_sets import commonest_share, labelled_classes, labelled_top, random_images
from harness.metrics.base import METRICS, Metric, Outcome, Score
from methods.base import Method

DRAWS = 1000
# Number of units compared at once: 512 x 100 x 100 booleans are 5 MB.
_UNITS_AT_ONCE = 512


def chance_purity(labels: np.ndarray, sizes: Iterable[int], *, draws: int = DRAWS) -> dict[int, float]:
    """Return size -> mean purity of that many random images, over ``draws`` sets drawn without replacement.

    Images whose label in ``labels`` (n_images,) is -1 are never drawn; ``sizes`` are at most the number of others.
    """
    wanted = sorted(set(sizes))
    if not wanted:
        return {}
    drawn = random_images(np.flatnonzero(labels >= 0), wanted[-1], draws, purpose="class purity")
    label = torch.from_numpy(labels[drawn])
    return {size: float(commonest_share(label[:, :size]).mean()) for size in wanted}


@METRICS.register()
class ClassPurity(Metric):
    """Share of a unit's top images that have their most frequent label, mean over units.

    Only labelled images on which the unit is active count. A unit with fewer than two is undefined, and dead units are
    excluded. Small sets of images are purer by chance than large ones, so each unit has its own chance level: the mean
    purity of equally many images drawn from the split (1000 seeded draws). Companions: ``class_purity_chance``, the
    mean chance level; ``class_purity_adjusted``, the mean of ``(purity - chance) / (1 - chance)``, which is 0 for
    random images and 1 for one class; ``class_purity_undefined``, the number of undefined alive units. The metric is
    skipped if fewer than two classes are labelled.
    """

    id = "class_purity"
    title = "class purity"
    reference = "share of the commonest label among a unit's top images"

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        return labelled_classes(baseline.images.labels) > 1

    @property
    def params(self) -> dict[str, Any]:
        return {"top_images": self.baseline.top_images}

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        units, labels = outcome.units, self.baseline.images.labels
        top = labelled_top(units, labels, self.baseline.top_images)
        sizes = torch.where(units.alive, top.size, 0)
        values = torch.full((units.n_units,), torch.nan, dtype=torch.float64)
        chance = torch.full_like(values, torch.nan)
        present = [size for size in sizes.unique().tolist() if size >= 2]
        expected = chance_purity(labels, present)
        for size in present:
            for chosen in torch.split(torch.nonzero(sizes == size)[:, 0], _UNITS_AT_ONCE):
                values[chosen] = commonest_share(top.label[chosen, :size])
                chance[chosen] = expected[size]
        score, undefined = self.unit_scores(outcome, values)
        outcome.unit_columns["class_purity_chance"] = chance.numpy()
        yield score
        # If the chance level is 1, as for a set of all images of one class, the adjusted purity is undefined.
        adjusted = torch.where(chance < 1, (values - chance) / (1 - chance), torch.nan)
        defined = adjusted.isfinite()
        yield Score(
            "class_purity_adjusted",
            float(adjusted[defined].numpy().mean()) if defined.any() else math.nan,
            int(defined.sum()),
            *outcome.error_over_units(adjusted, defined),
        )
        yield Score("class_purity_chance", float(chance[~chance.isnan()].mean()), score.n, direction="none")
        yield undefined
