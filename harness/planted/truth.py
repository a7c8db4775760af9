"""What is known of a planted layer, and where to find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from harness.activations.baseline import Baseline


@dataclass(eq=False)
class Parts:
    """The true sub-units of every neuron: their weights sum to the layer's, exactly."""

    weights: Tensor
    """(P, d_in)"""
    biases: Tensor
    """(P,)"""
    parent: Tensor
    """(P,) int64 neuron, non-decreasing"""
    concept: Tensor
    """(P,) int64 concept of each part"""
    own: Tensor | None = None
    """(P, d_in) bool: inputs that belong to the part's concept alone; None where parts share their inputs"""


@dataclass(eq=False)
class Truth:
    """A planted layer's truth."""

    n_concepts: int
    writers: Tensor
    """(C, d_out) what a concept of strength 1 adds to the layer's output"""
    strengths: Callable[[Baseline], Tensor]
    """(n_images, T, C) strength of each concept on each token of an evaluation split, by image index"""
    parts: Parts | None = None
    """None in superposition, where a neuron is no sum of a few parts"""
    patterns: Tensor | None = None
    """(C, d_in) what a concept of strength 1 adds to the layer's input, where that is known"""
    _held: dict[str, Tensor] = field(default_factory=dict)

    def strengths_on(self, baseline: Baseline) -> Tensor:
        """:attr:`strengths`, computed once for each evaluation split."""
        key = baseline.images.fingerprint
        if key not in self._held:
            self._held[key] = self.strengths(baseline)
        return self._held[key]


class PlantedLayer(nn.Linear):
    """A linear layer that knows its truth."""

    truth: Truth

    def __init__(self, weight: Tensor, bias: Tensor, truth: Truth) -> None:
        super().__init__(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            self.weight.copy_(weight)
            self.bias.copy_(bias)
        self.truth = truth


def truth_of(site: Any) -> Truth | None:
    """The truth of a site's layer (:class:`harness.activations.site.Site`), None where nothing is planted."""
    module = getattr(site, "module", None)
    return module.truth if isinstance(module, PlantedLayer) else None
