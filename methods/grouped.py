"""Units that each belong to one neuron of the layer (sub-units)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from methods.base import Dictionary, Method


class SubUnits(Method):
    """Base of methods whose every unit has a parent neuron."""

    parent: Tensor
    """(n_units,) int64 neuron of each unit, non-decreasing"""

    @property
    def code_width(self) -> int | None:
        return self.size_of("parent", 0)

    @property
    def n_units(self) -> int:
        self.require_fitted()
        return len(self.parent)

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Set :attr:`parent`, and return (n_units, ...) rows from (K_u, ...) rows per neuron, in neuron order."""
        self.parent = torch.repeat_interleave(torch.arange(len(parts)), torch.tensor([len(part) for part in parts]))
        return torch.cat(list(parts))

    def summed(self, codes: Tensor, n_neurons: int) -> Tensor:
        """Return the sum of each neuron's codes (n, n_units), as (n, n_neurons)."""
        self.require_fitted()
        total = codes.new_zeros(len(codes), n_neurons)
        return total.index_add_(1, self.parent.to(codes.device), codes)


class LinearSubUnits(SubUnits):
    """Sub-units that are rows of weights with a bias each, and read the layer's input."""

    weights: Tensor
    """(n_units, d_in)"""
    biases: Tensor
    """(n_units,)"""

    @property
    def input_width(self) -> int | None:
        return self.size_of("weights", 1)

    def encode(self, x: Tensor) -> Tensor:
        """Return the sub-unit pre-activations, dense and signed: ``x @ weights.T + biases``."""
        self.require_fitted()
        return functional.linear(x, self.weights.to(x), self.biases.to(x))

    def dictionary(self) -> Dictionary:
        self.require_fitted()
        return Dictionary(self.weights, self.parent, "reader")
