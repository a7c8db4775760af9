"""Targeted probe perturbation (SAEBench): the effect of ablating the units of a class on the probes of all classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.activations.pooled_codes import LabelledCodes
from harness.errors import UserError
from harness.identity import seed_of
from harness.metrics.base import METRICS, Metric, Outcome, Score
from harness.metrics.sparse_probe import has_classes
from harness.stats.log_mean import log_weights
from methods import numerics
from methods.base import Method

#: Numbers of ablated units, most and fewest classes, fewest images of a class in each split, and draws of random units.
#: Of two classes, each probe is the opposite of the other: both fall alike, and the value would be 0 by construction.
NS = (2, 5, 20)
MOST_CLASSES, FEWEST_CLASSES, FEWEST_IMAGES, DRAWS = 20, 3, 3, 5
# Number of units whose direction is decoded at once.
_UNITS_AT_ONCE = 1024


@METRICS.register()
class TargetedProbePerturbation(Metric):
    """Fall of a class's probe if the units of the class are ablated, less the fall of the other classes' probes.

    For each class, a linear probe (logistic regression, both sides weighted equally) tells it from the others by the
    layer's output, averaged over the tokens, on the probing images. The n units of the class are those whose ablation
    lowers the probe's logit most on its images, relative to the others, there: ``(mean code on the class - mean code on
    others) * (direction of the unit . probe)``. On the evaluation images their contribution is subtracted from the
    output, and with the balanced accuracy A of a probe,

        tpp(n) = mean over classes i of [fall of A_i - mean over j != i of the fall of A_j].

    ``tpp`` is its mean over log n for n = 2, 5, 20 (trapezoids); companions: ``tpp_2``, ``tpp_5``, ``tpp_20``, and
    ``tpp_random``, the same with as many random units among those that are active on probing images (five draws), whose
    contributions may be smaller. 1 if each probe falls from 1 to 0 alone, 0 if ablation affects all probes equally or
    none. Details: the two falls for each n, and the norm of what is taken away over that of the mean output: units that
    carry more lose more. The standard error is over classes. At least three and at most 20 classes with three images in
    each split are used.

    The decoder must be linear in the codes, and read nothing else: ablating a unit at all tokens then changes the mean
    output by its mean code times its direction, which needs no further pass.
    """

    id = "tpp"
    title = "targeted probe perturbation"
    reference = "Karvonen et al. 2024 and SAEBench (TPP); docs/probing.md"
    default = False
    needs_network = False
    needs_image_codes = True
    needs_dictionary = True

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        return can_ablate(method, baseline)

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        assert outcome.image_codes is not None
        train, test = outcome.image_codes
        classes = frequent_classes(train, test)
        if len(classes) < FEWEST_CLASSES:
            outcome.notes.append(
                f"No targeted probe perturbation: fewer than {FEWEST_CLASSES} classes have {FEWEST_IMAGES} images in "
                "each split."
            )
            return
        directions = unit_directions(outcome.method, outcome.baseline)
        weights, biases = class_probes(train, classes)
        clean = balanced_accuracies(test.mean_layer.double(), test.labels, classes, weights, biases)
        order = ranked_by_effect(train, classes, directions, weights)
        alive = (train.codes > 0).any(0).nonzero()[:, 0]
        ns = [n for n in NS if n <= len(alive)]
        if not ns:
            outcome.notes.append(f"No targeted probe perturbation: fewer than {NS[0]} units are active.")
            return
        by_class, random, details = [], [], {}
        norms = test.mean_layer.double().norm(dim=1).clamp_min(1e-12)
        sizes: list[float] = []
        for n in ns:

            def falls(units: Sequence[Tensor]) -> Tensor:
                """Return the fall (C, C) of each probe (column) by ablating the units of each class (row)."""
                rows = []
                for chosen in units:
                    taken = test.mean_codes[:, chosen].double() @ directions[chosen]
                    sizes.append(float((taken.norm(dim=1) / norms).mean()))
                    changed = test.mean_layer.double() - taken
                    rows.append(clean - balanced_accuracies(changed, test.labels, classes, weights, biases))
                return torch.stack(rows)

            sizes.clear()
            fall = falls([order[row, :n] for row in range(len(classes))])
            by_class.append(_targeted(fall))
            targeted, total = float(fall.diagonal().mean()), float(fall.mean())
            details[str(n)] = {
                "targeted": targeted,
                "others": (total * len(classes) - targeted) / (len(classes) - 1),
                "size": sum(sizes) / len(sizes),
            }
            draws = []
            for draw in range(DRAWS):
                generator = torch.Generator().manual_seed(seed_of("random units of a perturbation", n, draw))
                sets = [alive[torch.randperm(len(alive), generator=generator)[:n]] for _ in classes]
                draws.append(_targeted(falls(sets)))
            random.append(torch.stack(draws).mean(0))
        shares = log_weights(ns)
        values = sum(share * value for share, value in zip(shares, by_class, strict=True))
        level = sum(share * value for share, value in zip(shares, random, strict=True))
        assert isinstance(values, Tensor) and isinstance(level, Tensor)
        more = {"falls": details, "accuracy": float(clean.mean())}
        yield self._score("tpp", values, details=more, params={"ns": ns})
        for n, value in zip(ns, by_class, strict=True):
            yield self._score(f"tpp_{n}", value)
        yield self._score("tpp_random", level, direction="none", params={"ns": ns})

    def _score(self, name: str, values: Tensor, direction: Any = "higher", **more: Any) -> Score:
        n = len(values)
        error = float(values.std()) / math.sqrt(n)
        return Score(name, float(values.mean()), n, error, "classes", direction=direction, **more)


def can_ablate(method: Method, baseline: Baseline) -> bool:
    """Return True if units change the layer's output along fixed directions, and there are classes to probe."""
    # A decoder that reads the input may scale the directions by it, for each token.
    usable = not method.spec.virtual and not method.decode_reads_input and method.n_units > 0
    return usable and has_classes(baseline)


def _targeted(fall: Tensor) -> Tensor:
    """Return (C,) the fall of each class's own probe less the mean fall of the others, of falls (C, C)."""
    targeted = fall.diagonal()
    return targeted - (fall.sum(1) - targeted) / (len(fall) - 1)


def frequent_classes(train: LabelledCodes, test: LabelledCodes) -> list[int]:
    """Return the classes with enough images in both splits; of more than 20, those with the most, ties by number."""
    n_classes = 1 + max(int(each.labels.max()) for each in (train, test))
    counts = torch.stack([torch.bincount(each.labels, minlength=n_classes) for each in (train, test)]).amin(0)
    usable = [number for number in range(n_classes) if counts[number] >= FEWEST_IMAGES]
    return sorted(sorted(usable, key=lambda number: -int(counts[number]))[:MOST_CLASSES])


def unit_directions(method: Method, baseline: Baseline) -> Tensor:
    """Return what one unit of code adds to the layer's output, (n_units, d_out) float64, for a linear decoder.

    Raises:
        UserError: if the decoder is not linear in the codes, although the method has atoms.
    """
    site, device = baseline.passes.site, baseline.passes.backbone.device
    width = site.d_in if method.spec.reads == "input" else site.d_out

    def decoded(codes: Tensor) -> Tensor:
        with torch.inference_mode():
            result: Tensor = method.reconstruct(codes, codes.new_zeros(len(codes), width)).double().cpu()
        return result

    nothing = decoded(torch.zeros(1, method.n_units, device=device))
    parts = []
    for start in range(0, method.n_units, _UNITS_AT_ONCE):
        rows = torch.arange(start, min(start + _UNITS_AT_ONCE, method.n_units))
        codes = torch.zeros(len(rows), method.n_units, device=device)
        codes[torch.arange(len(rows)), rows] = 1
        parts.append(decoded(codes) - nothing)
    directions = torch.cat(parts)
    generator = torch.Generator().manual_seed(seed_of("check of a linear decoder"))
    codes = torch.rand(1, method.n_units, generator=generator)
    expected = codes.double() @ directions + nothing
    if not torch.allclose(decoded(codes.to(device)), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())):
        raise UserError(f"{method.spec.name} has atoms, but its decoder is not linear in the codes.")
    return directions


def class_probes(train: LabelledCodes, classes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return weights (C, d_out) and biases (C,) float64 of probes of each class against the others."""
    from sklearn.linear_model import LogisticRegression

    x = train.mean_layer.double()
    mean, scale = x.mean(0), x.std(0).clamp_min(1e-12)
    standardised = ((x - mean) / scale).numpy()
    weights, biases = [], []
    with numerics.sklearn_threads():
        for number in classes:
            model = LogisticRegression(max_iter=2000, class_weight="balanced")
            model.fit(standardised, (train.labels == number).numpy())
            weight = torch.from_numpy(model.coef_[0]) / scale
            weights.append(weight)
            biases.append(float(model.intercept_[0]) - float(weight @ mean))
    return torch.stack(weights), torch.tensor(biases, dtype=torch.float64)


def ranked_by_effect(train: LabelledCodes, classes: Sequence[int], directions: Tensor, weights: Tensor) -> Tensor:
    """Return the units (C, n_units) in descending order of what their ablation takes from each class's probe."""
    return effects_on_probes(train, classes, directions, weights).argsort(dim=1, descending=True, stable=True)


def effects_on_probes(train: LabelledCodes, classes: Sequence[int], directions: Tensor, weights: Tensor) -> Tensor:
    """Return the effect (C, n_units) of each unit on the logit of each class's probe: images of the class less others.

    Args:
        train: images to fit on.
        classes: C classes.
        directions: (n_units, d_out) float64, as of :func:`unit_directions`.
        weights: (C, d_out) float64, as of :func:`class_probes`.
    """
    codes = train.mean_codes.double()
    contrast = torch.stack(
        [codes[train.labels == number].mean(0) - codes[train.labels != number].mean(0) for number in classes]
    )
    return contrast * (weights @ directions.T)


def balanced_accuracies(x: Tensor, labels: Tensor, classes: Sequence[int], weights: Tensor, biases: Tensor) -> Tensor:
    """Return the balanced accuracy (C,) of each class's probe on x (n, d_out): mean of both sides' shares."""
    predicted = x @ weights.T + biases > 0
    members = labels[:, None] == torch.tensor(list(classes))
    inside = (predicted & members).sum(0) / members.sum(0)
    outside = (~predicted & ~members).sum(0) / (~members).sum(0)
    return (inside.double() + outside.double()) / 2
