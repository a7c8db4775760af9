"""Ground truth of a planted layer."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from harness.activations.baseline import Baseline


@dataclass(eq=False)
class TrueParts:
    """True sub-units of every neuron. Their weights sum exactly to the layer's."""

    weights: Tensor
    """(P, d_in) weights of each part"""
    biases: Tensor
    """(P,) bias of each part"""
    parent: Tensor
    """(P,) int64 neuron of each part, non-decreasing"""
    concept: Tensor
    """(P,) int64 concept of each part"""
    exclusive_inputs: Tensor | None = None
    """(P, d_in) bool: inputs that belong only to the part's concept; None if parts share their inputs"""


@dataclass(eq=False)
class Truth:
    """Ground truth of a planted layer."""

    n_concepts: int
    writers: Tensor
    """(C, d_out) contribution of a concept of strength 1 to the layer's output"""
    strengths: Callable[[Baseline], Tensor]
    """function that returns (n_images, T, C): the strength of each concept on each token of an evaluation split"""
    parts: TrueParts | None = None
    """parts of the neurons; None if every neuron reads all concepts"""
    patterns: Tensor | None = None
    """(C, d_in) contribution of a concept of strength 1 to the layer's input, or None if it is not known"""
    parent_of: Tensor | None = None
    """(C,) int64 parent concept of each concept, -1 for parents; None without a hierarchy of concepts"""
    _cached_strengths: dict[str, Tensor] = field(default_factory=dict)
    _cached_levels: dict[Hashable, float] = field(default_factory=dict)

    def strengths_on(self, baseline: Baseline) -> Tensor:
        """Return :attr:`strengths`, computed once per evaluation split."""
        key = baseline.images.fingerprint
        if key not in self._cached_strengths:
            self._cached_strengths[key] = self.strengths(baseline)
        return self._cached_strengths[key]

    def random_level(self, key: Hashable, compute: Callable[[], float]) -> float:
        """Return the random level of recovery for the counts ``key``, computed once."""
        if key not in self._cached_levels:
            self._cached_levels[key] = compute()
        return self._cached_levels[key]


class PlantedLayer(nn.Linear):
    """Linear layer with its ground truth."""

    truth: Truth

    def __init__(self, weight: Tensor, bias: Tensor, truth: Truth) -> None:
        super().__init__(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            self.weight.copy_(weight)
            self.bias.copy_(bias)
        self.truth = truth


class PlantedNetwork(nn.Module):
    """Network: ``before`` (images to inputs (B, T, d_in)), the layer ``units``, a rectifier, the mean over tokens."""

    def __init__(self, before: nn.Module, layer: PlantedLayer) -> None:
        super().__init__()
        # A Sequential, because evaluation passes may start after one: ``before`` then runs once per image.
        self.before = nn.Sequential(before)
        self.units = layer

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, S, S) to (B, d_out)."""
        return torch.relu(self.units(self.before(images))).mean(1)


def truth_of(site: Any) -> Truth | None:
    """Return the truth of a site's layer (:class:`harness.activations.site.Site`), or None if it is not planted."""
    module = getattr(site, "module", None)
    return module.truth if isinstance(module, PlantedLayer) else None
