"""Sparse probing: how well a few units predict the class of an image (ViSAEBench M4; SAEBench)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.activations.heads.probe import fit_head
from harness.activations.random_sets import labelled_classes
from harness.errors import ArgumentError
from harness.identity import seed_of
from harness.metrics.base import METRICS, Metric, Outcome, Score
from harness.metrics.inputs import require_real
from harness.stats import clustered_standard_error, proportion_standard_error
from harness.stats.log_mean import log_weights
from methods import numerics
from methods.base import Method

#: Numbers of units.
KS = (1, 2, 5, 16)
#: Sets of random units, and the classes and images of each that a probe needs.
DRAWS = 10
# Number of units whose F statistic is computed at once: 2048 x 5000 float64 are 82 MB.
_UNITS_AT_ONCE = 2048


def sparse_probe(
    codes: Tensor,
    labels: Tensor | np.ndarray | Sequence[int],
    k: int,
    *,
    test_codes: Tensor | None = None,
    test_labels: Tensor | np.ndarray | Sequence[int] | None = None,
    test_size: float = 0.2,
    seed: int = 42,
) -> float:
    """Return the test accuracy of a logistic regression on the k units with the largest F statistic.

    Without test codes, a stratified part of the images is held out for the accuracy, while the units are chosen on
    *all* images, as in ViSAEBench M4, whose values these are. With test codes, units are chosen and the probe is fitted
    on ``codes`` alone. The codes are used as they are: the L2 penalty (C = 1) is stronger for units of small codes.

    Args:
        codes: (n, n_units) code of each image: the largest over its tokens, in ViSAEBench.
        labels: (n,) class of each image.
        k: number of units.
        test_codes: (m, n_units) codes of other images.
        test_labels: (m,) classes of these.
        test_size: share of the images that is held out, without test codes.
        seed: random seed of that choice.

    Raises:
        ArgumentError: if shapes do not match, codes are not finite, k is not from 1 to n_units, or there are fewer than
            two classes.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    x, y = _checked(codes, labels, "codes", "labels")
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= x.shape[1]:
        raise ArgumentError(
            f"sparse_probe: k = {k!r}: give a whole number from 1 to the number of units, {x.shape[1]}."
        )
    if len(np.unique(y)) < 2:
        raise ArgumentError("sparse_probe: all images have one class; give images of at least two.")
    if (test_codes is None) != (test_labels is None):
        raise ArgumentError("sparse_probe: give test_codes and test_labels together.")
    if test_codes is not None and test_labels is not None:
        test_x, test_y = _checked(test_codes, test_labels, "test_codes", "test_labels")
        if test_x.shape[1] != x.shape[1]:
            raise ArgumentError(
                f"sparse_probe: test_codes have {test_x.shape[1]} units, and codes {x.shape[1]}: give those of one "
                "method."
            )
        chosen = ranked_units(torch.from_numpy(x), torch.from_numpy(y))[:k].numpy()
        train_x, train_y = x, y
    else:
        if not 0 < test_size < 1:
            raise ArgumentError(f"sparse_probe: test_size = {test_size}: give a share between 0 and 1.")
        chosen = ranked_units(torch.from_numpy(x), torch.from_numpy(y))[:k].numpy()
        counts = np.unique(y, return_counts=True)[1]
        # As in ViSAEBench, in which a number below the largest label without an image is a class of none.
        stratify = y if counts.min() >= 2 and y.max() + 1 == len(counts) else None
        try:
            train_x, test_x, train_y, test_y = train_test_split(
                x, y, test_size=test_size, stratify=stratify, random_state=seed
            )
        except ValueError as error:
            raise ArgumentError(
                f"sparse_probe: {len(x)} images of {len(np.unique(y))} classes cannot be split ({error}); give more."
            ) from error
    model = LogisticRegression(max_iter=500)
    with numerics.sklearn_threads(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train_x[:, chosen], train_y)
    return float(model.score(test_x[:, chosen], test_y))


def f_statistics(codes: Tensor, labels: Tensor) -> Tensor:
    """Return the F statistic (n_units,) float64 of a one-way analysis of variance of the codes by class.

    It is the variance between class means over the variance within classes; -inf for a unit with constant codes.

    Args:
        codes: (n, n_units).
        labels: (n,) int64.
    """
    from sklearn.feature_selection import f_classif

    parts = []
    for part in codes.split(_UNITS_AT_ONCE, dim=1):
        with warnings.catch_warnings():
            # Of constant units: 0/0.
            warnings.simplefilter("ignore")
            values = torch.from_numpy(np.asarray(f_classif(part.double().numpy(), labels.numpy())[0]))
        # Not left to 0/0: rounding errors of the sums give constant codes any statistic, infinity included.
        values[(part == part[:1]).all(0)] = -math.inf
        parts.append(values)
    return torch.cat(parts).nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf)


def ranked_units(codes: Tensor, labels: Tensor) -> Tensor:
    """Return the units (n_units,) in descending order of :func:`f_statistics`, ties to the lower number."""
    return f_statistics(codes, labels).argsort(descending=True, stable=True)


def _checked(codes: Tensor, labels: Any, *names: str) -> tuple[np.ndarray, np.ndarray]:
    require_real("sparse_probe", **{names[0]: codes})
    y = np.asarray(labels)
    if codes.ndim != 2 or y.shape != tuple(codes.shape[:1]) or not len(y):
        raise ArgumentError(
            f"sparse_probe: {names[0]} {tuple(codes.shape)} and {names[1]} {y.shape} must have the shapes (n, n_units) "
            "and (n,), with n of at least 1."
        )
    if not np.issubdtype(y.dtype, np.integer):
        raise ArgumentError(f"sparse_probe: {names[1]} are {y.dtype}; give whole numbers.")
    if not bool(torch.isfinite(codes).all()):
        raise ArgumentError(f"sparse_probe: {names[0]} contain NaN or infinity; give finite codes.")
    return codes.detach().cpu().numpy(), y


@METRICS.register()
class SparseProbe(Metric):
    """Share of evaluation images whose class a probe predicts from k units, for k = 1, 2, 5 and 16.

    The code of an image is the largest over its tokens. On the probing images, the k units with the largest F
    statistic (analysis of variance by class) are chosen, and a logistic regression (L2, C = 1) is fitted on their
    codes, which are standardised, so that methods with small codes are not penalised. Nothing is chosen on the images
    that are measured; ViSAEBench chooses units on all of them (:func:`sparse_probe`).

    ``sparse_probe_k`` is the mean of the accuracies over log k (trapezoids). Companions: ``sparse_probe_1``,
    ``sparse_probe_2``, ``sparse_probe_5``, ``sparse_probe_16``, as far as there are so many units; and
    ``sparse_probe_excess``, the mean of ``sparse_probe_k`` less that of as many random units among those that are
    active on a probing image (ten draws). Details, for each k: ``layer``, the accuracy with the k best neurons of the
    layer; ``random``, with random units; and ``majority``, of the most frequent class.

    Images without a label, and those of classes without a probing image, are left out. The metric is skipped if fewer
    than two classes are labelled.
    """

    id = "sparse_probe_k"
    title = "accuracy of probes with few units"
    reference = "ViSAEBench M4 and SAEBench (sparse probing); docs/probing.md"
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
        ks = [k for k in KS if k <= train.codes.shape[1]]
        n_classes = len(self.baseline.images.classes)
        order, layer_order = ranked_units(train.codes, train.labels), ranked_units(train.layer, train.labels)
        alive = (train.codes > 0).any(0).nonzero()[:, 0]
        alive = alive if len(alive) else torch.arange(train.codes.shape[1])
        correct: dict[int, Tensor] = {}
        layer: dict[int, float] = {}
        random: dict[int, Tensor] = {}

        def right(train_codes: Tensor, test_codes: Tensor, units: Tensor) -> Tensor:
            """Return which images (m,) are predicted from the codes of some units."""
            return right_images(
                fit_head(train_codes[:, units], train.labels, n_classes), test_codes[:, units], test.labels
            )

        with numerics.sklearn_threads():
            for k in ks:
                correct[k] = right(train.codes, test.codes, order[:k])
                layer[k] = float(right(train.layer, test.layer, layer_order[:k]).double().mean())
                draws = []
                for draw in range(DRAWS):
                    generator = torch.Generator().manual_seed(seed_of("random units of a probe", k, draw))
                    # Fewer than k if fewer are active: silent ones would add nothing.
                    units = alive[torch.randperm(len(alive), generator=generator)[:k]]
                    draws.append(right(train.codes, test.codes, units).double())
                random[k] = torch.stack(draws)
        n = len(test.labels)
        majority = float((test.labels == train.labels.mode().values).double().mean())
        # One value per image: its mean over log k.
        weights = log_weights(ks)
        per_image = sum(weight * correct[k].double() for k, weight in zip(ks, weights, strict=True))
        by_chance = sum(weight * random[k] for k, weight in zip(ks, weights, strict=True))
        assert isinstance(per_image, Tensor) and isinstance(by_chance, Tensor)
        excess = per_image - by_chance.mean(0)
        # All images share the draws, so these are a source of their own.
        of_draws = float(by_chance.mean(1).var()) / DRAWS
        excess_error = None if n < 2 else math.sqrt(float(excess.var()) / n + of_draws)
        details = {
            "layer": {str(k): layer[k] for k in ks},
            "random": {str(k): float(random[k].mean()) for k in ks},
            "majority": majority,
            "units": [int(unit) for unit in order[: ks[-1]]],
            "n_probing": len(train.labels),
            "n_unseen_class": len(every.labels) - n,
        }
        params = {"ks": ks}
        main = self.score(
            float(per_image.mean()), n, clustered_standard_error(per_image.numpy(), np.arange(n)), "images"
        )
        yield main._replace(details=details, params=params)
        for k in ks:
            share = float(correct[k].double().mean())
            name = f"sparse_probe_{k}"
            outcome.image_outcomes[name] = test.outcomes(correct[k])
            yield Score(name, share, n, proportion_standard_error(share, n), "images", params={})
        yield Score("sparse_probe_excess", float(excess.mean()), n, excess_error, "images and draws", params=params)


def has_classes(baseline: Baseline) -> bool:
    """Return True if at least two classes are labelled in both splits."""
    sides = [baseline.images, *([] if baseline.probing is None else [baseline.probing.images])]
    return len(sides) == 2 and all(labelled_classes(images.labels) > 1 for images in sides)


def right_images(head: Mapping[str, Tensor], codes: Tensor, labels: Tensor) -> Tensor:
    """Return (n,) bool: the images whose class a head of :func:`fit_head` predicts from their codes (n, m)."""
    return (codes @ head["weight"].T + head["bias"]).argmax(1) == labels
