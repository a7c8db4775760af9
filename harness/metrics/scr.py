"""Spurious-correlation removal (SAEBench): the bias of a probe that goes if the units of an attribute are ablated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.activations.pooled_codes import LabelledCodes
from harness.alterations import ALTERATIONS
from harness.identity import seed_of
from harness.metrics.base import METRICS, Metric, Outcome, Score
from harness.metrics.tpp import (
    FEWEST_IMAGES,
    balanced_accuracies,
    can_ablate,
    class_probes,
    effects_on_probes,
    frequent_classes,
    unit_directions,
)
from harness.stats import jackknife_standard_error
from harness.stats.log_mean import log_weights
from methods.base import Method

#: Numbers of ablated units, most pairs of classes (all of seven classes), and draws of random units.
NS = (2, 5, 20)
MOST_PAIRS, DRAWS = 21, 5
#: Attributes (names of alterations), and their severity. With a weaker one, probes of photographs at a DINOv2 layer do
#: not prefer the attribute to the class; this was measured on halves of the probing photographs.
ATTRIBUTES, SEVERITY = ("border", "tint"), 5
#: Smallest difference of the balanced accuracies of the unbiased and the biased probe that is divided by.
LEAST_GAP = 0.1


class Case(NamedTuple):
    """Accuracies on the evaluation images for one biased probe."""

    attribute: str
    pair: tuple[int, int]
    """classes; the images to fit on have the attribute if they are of the first"""
    biased: float
    oracle: float
    ablated: dict[int, float]
    """n -> accuracy of the biased probe with the n units of the attribute at their mean"""
    zeroed: dict[int, float]
    """n -> the same with these units at zero"""
    random: dict[int, float]
    """n -> the same with as many random units at their mean, mean over draws"""
    size: dict[int, float]
    """n -> mean norm of the change by the units of the attribute, over the norm of the mean output"""
    random_size: dict[int, float]

    @property
    def gap(self) -> float:
        return self.oracle - self.biased


@METRICS.register()
class SpuriousCorrelationRemoval(Metric):
    """Share of a probe's bias by a spurious attribute that goes if the units of the attribute are ablated.

    An attribute (a magenta border, an orange tint) is added to photographs. For a pair of classes, a *biased* probe
    (logistic regression on the layer's output, averaged over the tokens) tells the first from the second on probing
    images of which all of the first class have the attribute and none of the second. The *unbiased* probe (oracle) and
    the probe of the *attribute* are fitted on each of these images with and without it. The n units of the attribute
    are those with the largest positive effect on the attribute's probe, there: ``(mean code with the attribute - mean
    code without) * (direction of the unit . probe)``. On the evaluation images, each with and without the attribute,
    these codes are set to their mean over the probing images, both classes and both views weighted equally. With the
    balanced accuracy A for the class,

        scr(n) = mean of (A_ablated(n) - A_biased) / (A_oracle - A_biased)

    over pairs of classes, attributes, and the two choices of the class with the attribute. ``scr`` is its mean over
    log n for n = 2, 5, 20 (trapezoids); companions: ``scr_2``, ``scr_5``, ``scr_20``, and ``scr_random``, the same
    with as many random units among those that are active on probing images (five draws). 1 if ablation makes the biased
    probe as good as the unbiased one, 0 if it changes nothing; it may be outside, since ablation can also remove the
    class. Cases with a gap ``A_oracle - A_biased`` below 0.1 are left out, the same ones for all methods, and a note
    says how many. At most 21 pairs of 20 classes with three images in each split are used.

    Codes are set to their mean and not to zero, since the attribute is present or absent: at zero, all images look like
    those without it, and the threshold of the biased probe, which lies between the two, is as wrong as before.

    The standard error is a jackknife over classes: pairs that share a class are not independent, nor are attributes and
    directions of the bias. Details: mean accuracies and the norm of the change for each n, the value for codes set to
    zero as in SAEBench, and those of each attribute. The decoder must be linear in the codes, as for ``tpp``.
    """

    id = "scr"
    title = "spurious-correlation removal"
    # An ablation may make the probe better than the unbiased one, so it is not printed in percent.
    unit = ""
    reference = "Karvonen et al. 2024 and SAEBench (SCR), after Marks et al. 2024 (SHIFT); docs/probing.md"
    default = False
    needs_network = False
    needs_image_codes = True
    needs_dictionary = True

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        return can_ablate(method, baseline)

    @property
    def params(self) -> dict[str, Any]:
        return {"attributes": {name: [ALTERATIONS.get(name).version, SEVERITY] for name in ATTRIBUTES}}

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        assert outcome.image_codes is not None and outcome.altered_codes is not None
        train, test = outcome.image_codes
        alive = (train.codes > 0).any(0).nonzero()[:, 0]
        ns = [n for n in NS if n <= len(alive)]
        if not ns:
            outcome.notes.append(f"No spurious-correlation removal: fewer than {NS[0]} units are active.")
            return
        directions = unit_directions(outcome.method, outcome.baseline)
        cases: list[Case] = []
        for name in ATTRIBUTES:
            alteration = ALTERATIONS.get(name)(SEVERITY)
            fitted_on = both_views(train, outcome.altered_codes(alteration, "probing"))
            measured = both_views(test, outcome.altered_codes(alteration, "evaluation"))
            cases += cases_of(name, fitted_on, measured, directions, alive, ns)
        if not cases:
            outcome.notes.append(
                f"No spurious-correlation removal: fewer than two classes have {FEWEST_IMAGES} images in each split."
            )
            return
        usable = [case for case in cases if case.gap >= LEAST_GAP]
        if len(usable) < len(cases):
            outcome.notes.append(
                f"{self.id}: {len(cases) - len(usable)} of {len(cases)} biased probes are left out, since the accuracy "
                f"of the unbiased probe is not {LEAST_GAP} above theirs."
            )
        if usable:
            yield from self._scores(usable, ns)

    def _scores(self, cases: Sequence[Case], ns: Sequence[int]) -> Iterator[Score]:
        by_n = {n: removed(cases, [case.ablated[n] for case in cases]) for n in ns}
        random = {n: removed(cases, [case.random[n] for case in cases]) for n in ns}
        total, level = _mean_over_log(by_n), _mean_over_log(random)
        details: dict[str, Any] = {
            "accuracy": {
                "biased": _mean([case.biased for case in cases]),
                "oracle": _mean([case.oracle for case in cases]),
                "ablated": {str(n): _mean([case.ablated[n] for case in cases]) for n in ns},
                "zeroed": {str(n): _mean([case.zeroed[n] for case in cases]) for n in ns},
                "random": {str(n): _mean([case.random[n] for case in cases]) for n in ns},
            },
            "zeroed": float(_mean_over_log({n: removed(cases, [case.zeroed[n] for case in cases]) for n in ns}).mean()),
            "size": {
                "ablated": {str(n): _mean([case.size[n] for case in cases]) for n in ns},
                "random": {str(n): _mean([case.random_size[n] for case in cases]) for n in ns},
            },
        }
        for name in ATTRIBUTES:
            of_attribute = torch.tensor([case.attribute == name for case in cases])
            if bool(of_attribute.any()):
                details[name] = float(total[of_attribute].mean())
        params = {**self.params, "ns": list(ns)}
        yield self._score(self.id, cases, total)._replace(details=details, params=params)
        for n in ns:
            yield self._score(f"scr_{n}", cases, by_n[n])
        yield self._score("scr_random", cases, level)._replace(direction="none", params=params)

    def _score(self, name: str, cases: Sequence[Case], values: Tensor) -> Score:
        error = class_jackknife(values, [case.pair for case in cases])
        return Score(name, float(values.mean()), len(cases), error, "jackknife over classes", self.unit)


def both_views(plain: LabelledCodes, altered: LabelledCodes) -> LabelledCodes:
    """Return the images of both sets, first without the alteration and then with it, in the same order.

    Args:
        plain: codes of the unaltered images, in ascending order.
        altered: codes of the altered images, in ascending order; some images may be missing in either.
    """
    parts = [(side, torch.isin(side.image, other.image)) for side, other in ((plain, altered), (altered, plain))]
    names = ("image", "labels", "codes", "layer", "mean_codes", "mean_layer")
    rows: dict[str, Any] = {name: torch.cat([getattr(side, name)[kept] for side, kept in parts]) for name in names}
    return replace(plain, **rows)


def class_pairs(classes: Sequence[int]) -> list[tuple[int, int]]:
    """Return the pairs of classes; of more than 21, a seeded choice."""
    pairs = list(combinations(classes, 2))
    generator = torch.Generator().manual_seed(seed_of("pairs of classes", *classes))
    return sorted(pairs[index] for index in torch.randperm(len(pairs), generator=generator)[:MOST_PAIRS].tolist())


def cases_of(
    attribute: str, train: LabelledCodes, test: LabelledCodes, directions: Tensor, alive: Tensor, ns: Sequence[int]
) -> Iterator[Case]:
    """Yield two cases for each pair of classes: the first class has the attribute, or the second.

    Args:
        attribute: name of the attribute.
        train: images to fit probes and to choose units on, as :func:`both_views` returns them.
        test: images to measure, likewise.
        directions: (n_units, d_out) float64 what one unit of code adds to the layer's output.
        alive: numbers of the units that are active on images to fit on.
        ns: numbers of ablated units.
    """
    # Each image counts once.
    counted = [replace(side, labels=side.labels[~_has_attribute(side)]) for side in (train, test)]
    for pair in class_pairs(frequent_classes(*counted)):
        fitted_on, measured = (side.of_classes(torch.tensor(pair)) for side in (train, test))
        has = _has_attribute(fitted_on)
        marked = replace(fitted_on, labels=has.long())
        effects = effects_on_probes(marked, [1], directions, class_probes(marked, [1])[0])[0]
        ranked = effects.argsort(descending=True, stable=True)
        centre = torch.stack([fitted_on.mean_codes[fitted_on.labels == number].mean(0) for number in pair]).mean(0)
        x = measured.mean_layer.double()
        norms = x.norm(dim=1).clamp_min(1e-12)
        changes: dict[int, list[Tensor]] = {}
        zeroed: dict[int, Tensor] = {}
        for n in ns:
            # Without a positive effect, ablation would add to the attribute.
            units = ranked[:n][effects[ranked[:n]] > 0]
            sets = [units, *_random_units(alive, len(units), attribute, pair, n)]
            changes[n] = [(measured.mean_codes - centre)[:, each].double() @ directions[each] for each in sets]
            zeroed[n] = measured.mean_codes[:, units].double() @ directions[units]
        sizes = {n: [float((part.norm(dim=1) / norms).mean()) for part in parts] for n, parts in changes.items()}
        oracle = _accuracy(x, measured, pair, class_probes(fitted_on, [pair[0]]))
        for ordered in (pair, pair[::-1]):
            biased_rows = (fitted_on.labels == ordered[0]) == has
            probe = class_probes(_rows(fitted_on, biased_rows), [pair[0]])
            left = {n: [_accuracy(x - part, measured, pair, probe) for part in parts] for n, parts in changes.items()}
            yield Case(
                attribute,
                ordered,
                biased=_accuracy(x, measured, pair, probe),
                oracle=oracle,
                ablated={n: each[0] for n, each in left.items()},
                zeroed={n: _accuracy(x - part, measured, pair, probe) for n, part in zeroed.items()},
                random={n: _mean(each[1:]) for n, each in left.items()},
                size={n: each[0] for n, each in sizes.items()},
                random_size={n: _mean(each[1:]) for n, each in sizes.items()},
            )


def removed(cases: Sequence[Case], accuracies: Sequence[float]) -> Tensor:
    """Return the share (n,) float64 of each case's gap that is closed by a probe of these accuracies."""
    shares = [(accuracy - case.biased) / case.gap for case, accuracy in zip(cases, accuracies, strict=True)]
    return torch.tensor(shares, dtype=torch.float64)


def class_jackknife(values: Tensor, pairs: Sequence[tuple[int, int]]) -> float | None:
    """Return the jackknife standard error of the mean of ``values`` (n,) over the classes of their ``pairs``.

    Each estimate leaves out all pairs of one class. It is None if that leaves out everything.
    """
    members = torch.tensor(pairs)
    kept = [~(members == number).any(1) for number in members.unique()]
    if not all(bool(rows.any()) for rows in kept):
        return None
    return jackknife_standard_error([float(values[rows].mean()) for rows in kept])


def _has_attribute(views: LabelledCodes) -> Tensor:
    """Return (n,) bool: the second half of the rows, which :func:`both_views` and a choice of classes put there."""
    return torch.arange(len(views.labels)) >= len(views.labels) // 2


def _rows(codes: LabelledCodes, chosen: Tensor) -> LabelledCodes:
    return replace(codes, labels=codes.labels[chosen], mean_layer=codes.mean_layer[chosen])


def _random_units(alive: Tensor, n_units: int, *seed: Any) -> Iterator[Tensor]:
    for draw in range(DRAWS):
        generator = torch.Generator().manual_seed(seed_of("random units of an attribute", str(seed), draw))
        yield alive[torch.randperm(len(alive), generator=generator)[:n_units]]


def _accuracy(x: Tensor, of: LabelledCodes, pair: tuple[int, int], probe: tuple[Tensor, Tensor]) -> float:
    """Return the balanced accuracy on x (n, d_out) of a probe for the first class of the pair."""
    return float(balanced_accuracies(x, of.labels, [pair[0]], *probe)[0])


def _mean_over_log(values: dict[int, Tensor]) -> Tensor:
    shares = log_weights(list(values))
    return torch.stack([share * each for share, each in zip(shares, values.values(), strict=True)]).sum(0)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
