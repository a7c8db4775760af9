"""Specificity of ablations: how few classes lose or gain logits if one unit is set to zero."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.activations.interventions import Edit, image_norms, intervened
from harness.errors import ArgumentError
from harness.identity import seed_of
from harness.metrics.base import METRICS, Metric, Outcome, Score
from harness.metrics.inputs import require_real
from methods.base import Method

#: Most units that are ablated, and images of each: those that activate it most.
UNITS, IMAGES = 48, 8
FEWEST_CLASSES = 3
# Norm of a change relative to that of the logits, below which it is rounding error.
_LEAST_CHANGE = 1e-6


def class_specificity(changes: Tensor) -> Tensor:
    """Return how far changes of logits are concentrated on one class.

    ``1 - (E - 1) / (C - 1)`` with the effective number of classes ``E = (sum_c |m_c|)^2 / sum_c m_c^2``, where m are
    the changes less their median over the classes, because a common change moves no probability: 1 if one class moves,
    and 0 if half of an even number of classes rise and half fall by as much. Normally distributed changes give .36 for
    many classes, and more for few (.48 for seven), so compare values of equally many classes.

    Args:
        changes: (n, C) changes of the logits of at least three classes.

    Returns:
        (n,) float64; NaN where nothing changes.

    Raises:
        ArgumentError: if the shape is another one.
    """
    require_real("class_specificity", changes=changes)
    if changes.ndim != 2 or changes.shape[1] < FEWEST_CLASSES:
        raise ArgumentError(
            f"class_specificity: changes {tuple(changes.shape)} must have the shape (n, C), with C of at least "
            f"{FEWEST_CLASSES}."
        )
    moved = from_median(changes)
    effective = moved.abs().sum(1) ** 2 / (moved**2).sum(1)
    return 1 - (effective - 1) / (changes.shape[1] - 1)


def from_median(changes: Tensor) -> Tensor:
    """Return changes (n, C) less their median over the classes, float64."""
    return changes.double() - changes.double().quantile(0.5, dim=1, keepdim=True)


class Ablated(NamedTuple):
    """Mean change of the logits of one unit's images, each (C,) float64."""

    unit: Tensor
    control: Tensor
    size: float
    """norm of the change of the layer's output over that of the output, mean over images"""


@METRICS.register()
class AblationSpecificity(Metric):
    """Mean over units of the concentration of an ablation's effect on one class, with a control of equal norm.

    Up to 48 units that are active on at least two evaluation images are set to zero, one at a time, at all tokens of
    the up to eight images that activate them most; what the method does not reconstruct stays in the network. The mean
    change of the logits over these images is concentrated on one class (1) or spread over all (0), by
    :func:`class_specificity`.

    Companions: ``ablation_specificity_control``, with a change of the same norm per image at the same tokens towards
    the outputs of another of these images; ``ablation_specificity_gain``, the difference, with the standard error of
    the paired difference over units, clustered by parent; and ``ablation_effect``, the mean largest change of a logit.
    Details: the share of the layer's output that is taken away. The metric is skipped for virtual units, which the
    network does not read, and for fewer than three classes.
    """

    id = "ablation_specificity"
    title = "specificity of ablations"
    reference = "effective number of classes (inverse participation ratio); docs/probing.md"
    default = False

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        return not method.spec.virtual and method.n_units > 0 and baseline.logits.shape[1] >= FEWEST_CLASSES

    @property
    def params(self) -> dict[str, Any]:
        return {"units": UNITS, "images": IMAGES}

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        active = (outcome.units.top_value > 0).sum(0)
        candidates = (active >= 2).nonzero()[:, 0]
        generator = torch.Generator().manual_seed(seed_of("ablated units"))
        units = candidates[torch.randperm(len(candidates), generator=generator)[:UNITS]].sort().values
        if not len(units):
            outcome.notes.append("No specificity of ablations: no unit is active on two images.")
            return
        ablated = [self._ablate(outcome, int(unit)) for unit in units]
        values = class_specificity(torch.stack([each.unit for each in ablated]))
        control = class_specificity(torch.stack([each.control for each in ablated]))
        first = self.baseline.clean_logits(torch.from_numpy(self.baseline.index[:1]))
        least = _LEAST_CHANGE * float(first.double().norm())
        moved = [
            from_median(torch.stack([getattr(each, side) for each in ablated])).norm(dim=1) > least
            for side in ("unit", "control")
        ]
        scored = moved[0] & moved[1]
        n = int(scored.sum())
        if not n:
            outcome.notes.append("No specificity of ablations: no ablation changes a logit.")
            return
        every = torch.full((outcome.method.n_units,), torch.nan, dtype=torch.float64)

        def score(name: str, per_unit: Tensor, direction: Any = "none", **more: Any) -> Score:
            filled = every.clone()
            filled[units[scored]] = per_unit[scored]
            error = outcome.error_over_units(filled, ~filled.isnan())
            return Score(name, float(per_unit[scored].mean()), n, *error, direction=direction, **more)

        sizes = torch.tensor([each.size for each in ablated], dtype=torch.float64)
        details = {"size": float(sizes[scored].mean()), "without_effect": len(units) - n}
        yield score(self.id, values, "higher", details=details)
        yield score("ablation_specificity_control", control)
        yield score("ablation_specificity_gain", values - control, "higher")
        largest = torch.stack([each.unit.abs().max() for each in ablated])
        yield score("ablation_effect", largest, unit="logits")

    def _ablate(self, outcome: Outcome, unit: int) -> Ablated:
        """Set one unit to zero on its images, and then change these images by as much towards each other."""
        baseline, method = self.baseline, outcome.method
        column = outcome.units.top_value[:, unit]
        images = outcome.units.top_image[column > 0, unit][:IMAGES].sort().values.numpy()
        # In one batch, whatever that of other passes is: the control exchanges outputs within it.
        passes = replace(baseline.passes.of_images(images), batch_size=IMAGES)
        edit = Edit(torch.tensor([unit]), torch.zeros(1), patches=None, prefix=True)
        sizes: list[Tensor] = []

        def changed(q: Tensor, a: Tensor) -> Tensor:
            output = intervened(method, edit, q, a, self._positions(a)).output
            sizes.append((image_norms(output - a) / image_norms(a).clamp_min(1e-12)).cpu())
            return output

        def towards(q: Tensor, a: Tensor) -> Tensor:
            change = intervened(method, edit, q, a, self._positions(a)).output - a
            touched = (change != 0).any(-1, keepdim=True)
            other = torch.where(touched, a.roll(1, 0) - a, 0.0)
            factor = image_norms(change) / image_norms(other).clamp_min(1e-30)
            return a + other * factor[:, None, None]

        clean = baseline.clean_logits(torch.from_numpy(images)).double()
        effects = []
        for tap in (changed, towards):
            with torch.inference_mode():
                logits = torch.cat([baseline.head.logits(passed.features).cpu() for passed in passes.run(tap)])
            effects.append((logits.double() - clean).mean(0))
        return Ablated(effects[0], effects[1], float(torch.cat(sizes).mean()))

    def _positions(self, a: Tensor) -> Tensor:
        positions: Tensor = self.baseline.passes.site.positions(a.shape[1])
        return positions
