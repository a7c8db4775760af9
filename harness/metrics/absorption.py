"""Feature absorption over a class hierarchy: the unit of a class takes over from the unit of its parent."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.activations.pooled_codes import LabelledCodes
from harness.errors import ArgumentError
from harness.identity import seed_of
from harness.metrics.base import METRICS, Metric, Outcome, Score
from harness.metrics.inputs import require_real
from harness.metrics.sparse_probe import has_classes, ranked_units
from harness.stats import clustered_standard_error
from harness.stats.class_auroc import auroc_of_ranks, class_auroc, mean_ranks
from methods import numerics
from methods.base import Method

#: Fewest images of a child in each split, permutations of the null, and most parents.
FEWEST_IMAGES, PERMUTATIONS, MOST_PARENTS = 3, 5, 50


class AbsorptionRate(NamedTuple):
    """Absorption by ViSAEBench M7."""

    rate: float
    """share of (class, group) pairs; NaN without any"""
    overlap: float
    """mean Jaccard index of the units of the class and of the group"""
    f1_gap: float
    """mean gain of F1 by further units"""
    n: int
    """pairs"""


def absorption_rate(
    codes: Tensor,
    labels: Tensor | np.ndarray | Sequence[int],
    groups: Mapping[str, Sequence[int]],
    *,
    top_k: int = 10,
    threshold: float = 0.1,
    largest_overlap: float = 0.5,
) -> AbsorptionRate:
    """Return the absorption rate by ViSAEBench M7: the share of (class, group of siblings) pairs that are absorbed.

    A pair is absorbed if the ``top_k`` units with the largest mean code on the class and on its whole group have a
    Jaccard index above ``largest_overlap``, or if the F1 of a probe for the class within its group gains more than
    ``threshold`` by four units instead of one. Units are ranked by their F statistic, and F1 is that of the images on
    which the probe was fitted. Groups of fewer than three classes or ten images are left out, and classes with fewer
    than three images in their group, or outside it. Equal means are ranked by the number of the unit.

    Args:
        codes: (n, n_units) code of each image.
        labels: (n,) class of each image.
        groups: name -> classes of one parent.

    Raises:
        ArgumentError: if the shapes do not match, or a code is NaN or infinite.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score

    require_real("absorption_rate", codes=codes)
    y = np.asarray(labels)
    if codes.ndim != 2 or y.shape != tuple(codes.shape[:1]):
        raise ArgumentError(
            f"absorption_rate: codes {tuple(codes.shape)} and labels {y.shape} must have the shapes (n, n_units) and "
            "(n,)."
        )
    if not bool(torch.isfinite(codes).all()):
        raise ArgumentError("absorption_rate: codes contain NaN or infinity; give finite codes.")

    def f1(x: np.ndarray, of_class: np.ndarray) -> float:
        model = LogisticRegression(max_iter=500).fit(x, of_class)
        return float(f1_score(of_class, model.predict(x), zero_division=0.0))

    def largest(means: np.ndarray) -> set[int]:
        return set(np.argsort(-means, kind="stable")[:top_k].tolist())

    overlaps, gaps = [], []
    with numerics.sklearn_threads(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of probes that do not converge
        for classes in groups.values():
            inside = np.isin(y, list(classes))
            if len(classes) < 3 or inside.sum() < 10:
                continue
            x, of_group = codes[torch.from_numpy(inside)].detach().cpu().numpy(), y[inside]
            whole = largest(x.mean(0))
            for number in classes:
                of_class = of_group == number
                if min(of_class.sum(), (~of_class).sum()) < 3:
                    continue
                strongest = largest(x[of_class].mean(0))
                ranked = ranked_units(torch.from_numpy(x), torch.from_numpy(of_class.astype(np.int64)))
                overlaps.append(len(strongest & whole) / len(strongest | whole))
                gaps.append(f1(x[:, ranked[:4].numpy()], of_class) - f1(x[:, ranked[:1].numpy()], of_class))
    if not overlaps:
        return AbsorptionRate(math.nan, math.nan, math.nan, 0)
    absorbed = (np.asarray(overlaps) > largest_overlap) | (np.asarray(gaps) > threshold)
    return AbsorptionRate(float(absorbed.mean()), float(np.mean(overlaps)), float(np.mean(gaps)), len(absorbed))


class ChildRates(NamedTuple):
    """Shares of the images of one class."""

    parent: int
    unit: int
    """unit of the class, chosen on the probing images"""
    absorbed: float
    """images on which the parent's unit is silent and the class's own unit is active"""
    missed: float
    """images on which the parent's unit is silent"""
    active: float
    """images on which the class's own unit is active"""


class ParentUnit(NamedTuple):
    """Unit of a parent, chosen on the probing images."""

    parent: int
    children: tuple[int, ...]
    """classes with enough images in both splits"""
    unit: int
    threshold: float
    """the unit is active on an image if its code is above"""


@METRICS.register()
class Absorption(Metric):
    """Share of images on which the unit of a class takes over from the unit of its parent.

    If a dictionary has a unit for *dog* and one for *beagle*, sparsity is gained by leaving the first silent on
    beagles: it then means "dog, but no beagle". For each parent of the class hierarchy with at least two classes, its
    unit is the one with the highest AUROC for images of its classes against those of all others, without the classes
    of parents below it, and the unit of each class, another one, that with the highest AUROC against its siblings. Both
    are active above the code with the largest difference of true and false positive rate. Everything is chosen on the
    probing images. An evaluation image is absorbed if the parent's unit is silent and the unit of its class is active;
    the value is the mean over classes.

    Companions: ``absorption_null``, the same with the labels permuted among the siblings (five times), so that the
    units of classes mean nothing: a parent's unit may be silent for other reasons; ``absorption_excess``, the
    difference, which also grows with the quality of the classes' units; ``absorption_missed``, the share of images on
    which the parent's unit is silent, absorbed or not; and ``absorption_rate``, ViSAEBench's M7 on the evaluation
    images, which needs three classes of a parent. The standard error is over classes, clustered by parent. Details: the
    AUROC of the parents' units on the evaluation images; if these units tell nothing, the rest means little. If all K
    classes of a parent absorb it, the value is (K - 1) / K: its best unit is then that of one of them. Of more
    than 50 parents, those with the most probing images are used. The metric is skipped for images without a class
    hierarchy.
    """

    id = "absorption"
    title = "absorption of parents by classes"
    direction = "lower"
    reference = "Chanin et al. 2024 and SAEBench (absorption), ViSAEBench M7 (absorption_rate); docs/probing.md"
    default = False
    needs_network = False
    needs_image_codes = True
    needs_hierarchy = True

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        return method.n_units > 1 and has_classes(baseline) and baseline.images.class_hierarchy is not None

    @property
    def params(self) -> dict[str, Any]:
        hierarchy = self.baseline.images.class_hierarchy
        return {} if hierarchy is None else {"hierarchy": hierarchy.fingerprint}

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        assert outcome.image_codes is not None and self.baseline.images.class_hierarchy is not None
        train, test = outcome.image_codes
        hierarchy = self.baseline.images.class_hierarchy
        parent_of, members = torch.tensor(hierarchy.parent_of), torch.from_numpy(hierarchy.members)
        chosen = list(parent_units(train, test, parent_of, members))
        if not chosen:
            outcome.notes.append(
                f"No absorption: no parent has two classes with {FEWEST_IMAGES} images in each split, and classes "
                "beside it."
            )
            return
        rates: list[ChildRates] = []
        null: list[list[float]] = [[] for _ in range(PERMUTATIONS)]
        for parent in chosen:
            generators = [
                torch.Generator().manual_seed(seed_of("null of absorption", draw, parent.parent))
                for draw in range(PERMUTATIONS)
            ]
            shuffled = [_shuffled(train.labels, parent.children, generator) for generator in generators]
            measured, *permuted = child_rates(parent, train, test, [train.labels, *shuffled])
            rates += measured
            for level_of_draw, of_draw in zip(null, permuted, strict=True):
                level_of_draw += [rate.absorbed for rate in of_draw]
        absorbed = np.asarray([rate.absorbed for rate in rates])
        level = np.asarray(null).mean(0)
        clusters = np.asarray([rate.parent for rate in rates])
        n, kind = len(rates), "classes, clustered by parent"

        def score(name: str, values: np.ndarray, direction: Any = "none", details: Any = None) -> Score:
            error = clustered_standard_error(values, clusters)
            return Score(name, float(values.mean()), n, error, kind, direction=direction, details=details)

        details = {
            "parent_auroc": float(np.mean([_auroc_of(parent, test, members) for parent in chosen])),
            "n_parents": len(chosen),
            "active": float(np.mean([rate.active for rate in rates])),
        }
        yield score("absorption", absorbed, "lower", details)
        yield score("absorption_null", level)
        yield score("absorption_excess", absorbed - level)
        yield score("absorption_missed", np.asarray([rate.missed for rate in rates]))
        groups = {str(parent.parent): parent.children for parent in chosen}
        published = absorption_rate(test.codes, test.labels, groups)
        if published.n:
            more = {"overlap": published.overlap, "f1_gap": published.f1_gap}
            yield Score("absorption_rate", published.rate, published.n, direction="lower", details=more)


def parent_units(train: LabelledCodes, test: LabelledCodes, parent_of: Tensor, members: Tensor) -> Iterator[ParentUnit]:
    """Yield the unit of each parent that has two classes with enough images in both splits, and classes beside it.

    Args:
        train: codes of the probing images.
        test: codes of the evaluation images.
        parent_of: (n_classes,) int64 parent of each class, -1 for none.
        members: (n_parents, n_classes) bool: classes below each parent at any depth, which are not beside it.
    """
    n_classes = len(parent_of)
    counts = torch.stack([torch.bincount(each.labels, minlength=n_classes) for each in (train, test)]).amin(0)
    alive = (train.codes > 0).any(0)
    sizes = torch.bincount(parent_of[train.labels] + 1, minlength=2)[1:].tolist()
    frequent = sorted(range(len(sizes)), key=lambda parent: -sizes[parent])[:MOST_PARENTS]
    for parent in sorted(parent for parent in frequent if sizes[parent]):
        below = (parent_of == parent) & (counts >= FEWEST_IMAGES)
        children = below.nonzero()[:, 0]
        inside = torch.isin(train.labels, children)
        beside = ~members[parent][train.labels]
        kept = inside | beside
        if len(children) < 2 or not bool(beside.any()) or int(alive.sum()) < 2:
            continue
        auroc = class_auroc(train.codes[kept], inside[kept, None])[:, 0].masked_fill(~alive, -1)
        unit = int(auroc.argmax())
        threshold = youden_threshold(train.codes[kept, unit], inside[kept])
        yield ParentUnit(parent, tuple(children.tolist()), unit, threshold)


def child_rates(
    parent: ParentUnit, train: LabelledCodes, test: LabelledCodes, labellings: Sequence[Tensor]
) -> list[list[ChildRates]]:
    """Return the rates of each class of a parent, for each way to label the probing images.

    Args:
        parent: the parent and its unit.
        train: codes of the probing images.
        test: codes of the evaluation images.
        labellings: classes (n,) of the probing images, by which the units of the classes are chosen. They differ
            between siblings only.
    """
    children = torch.tensor(parent.children)
    inside = torch.isin(labellings[0], children)
    codes = train.codes[inside]
    ranks = mean_ranks(codes)
    unusable = ~(train.codes > 0).any(0)
    unusable[parent.unit] = True
    made = []
    for labels in labellings:
        members = labels[inside, None] == children
        auroc = auroc_of_ranks(ranks, members).masked_fill(unusable[:, None], -1)
        rates = []
        for column, number in enumerate(parent.children):
            unit = int(auroc[:, column].argmax())
            threshold = youden_threshold(codes[:, unit], members[:, column])
            rows = test.codes[test.labels == number]
            silent, active = rows[:, parent.unit] <= parent.threshold, rows[:, unit] > threshold
            shares = (float(each.double().mean()) for each in (silent & active, silent, active))
            rates.append(ChildRates(parent.parent, unit, *shares))
        made.append(rates)
    return made


def youden_threshold(values: Tensor, members: Tensor) -> float:
    """Return the value above which the share of members (n,) bool exceeds that of the others most, the largest one."""
    order = values.argsort(descending=True, stable=True)
    sorted_values, is_member = values[order], members[order].double()
    gain = is_member.cumsum(0) / is_member.sum() - (1 - is_member).cumsum(0) / (1 - is_member).sum()
    # A threshold lies between two different values.
    last = torch.ones_like(members[order])
    last[:-1] = sorted_values[:-1] != sorted_values[1:]
    best = int(torch.where(last, gain, -math.inf).argmax())
    return float(sorted_values[best + 1]) if best + 1 < len(values) else -math.inf


def _shuffled(labels: Tensor, children: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return labels (n,) with those of the children permuted among their images."""
    rows = torch.isin(labels, torch.tensor(children)).nonzero()[:, 0]
    shuffled = labels.clone()
    shuffled[rows] = labels[rows[torch.randperm(len(rows), generator=generator)]]
    return shuffled


def _auroc_of(parent: ParentUnit, test: LabelledCodes, members: Tensor) -> float:
    inside = torch.isin(test.labels, torch.tensor(parent.children))
    kept = inside | ~members[parent.parent][test.labels]
    return float(class_auroc(test.codes[kept][:, [parent.unit]], inside[kept, None])[0, 0])
