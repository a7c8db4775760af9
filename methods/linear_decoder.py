"""Base of dictionaries and sparse autoencoders: ``decode(codes) = codes @ atoms + output_bias``."""

from __future__ import annotations

from torch import Tensor

from methods.base import Dictionary, Learner
from methods.half_precision import in_float32


class LinearDecoder(Learner):
    """Base of methods whose units each write one direction into the layer's output; each family implements encode."""

    atoms: Tensor
    """(n_units, d_out), in the units of the layer's output"""
    output_bias: Tensor
    """(d_out,) the decoded output if all codes are 0"""

    @in_float32
    def decode(self, codes: Tensor, x: Tensor | None = None) -> Tensor:
        self.require_fitted()
        return codes @ self.atoms.to(codes) + self.output_bias.to(codes)

    def dictionary(self) -> Dictionary:
        self.require_fitted()
        return Dictionary(self.atoms, None, "writer")

    @property
    def input_width(self) -> int | None:
        return self.size_of("atoms", 1) if self.spec.reads == "output" else None

    @property
    def code_width(self) -> int | None:
        return self.size_of("atoms", 0)

    @property
    def n_units(self) -> int:
        self.require_fitted()
        return len(self.atoms)
