"""Oracle: the planted parts as a method, to measure what value a metric has on the truth."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from harness.errors import UserError
from harness.planted.truth import truth_of
from methods.base import Device, Dictionary, LinearSite, Method, MethodSpec, Progress, Tokens, no_progress

#: Number of steps of the sparse regression. Its error is then far below the noise of any world.
STEPS = 200

#: Weight of the sum of strengths in the sparse regression, as a fraction of a pattern's mean squared length.
SPARSITY = 0.02


class Oracle(Method):
    """Method whose units are the planted ones.

    If neurons have parts, the codes are the outputs of the parts, and a neuron is decoded as their sum. In
    superposition, the codes are the strengths of the concepts, estimated from q with the true patterns, and ``a`` is
    decoded as the sum of what the concepts write.
    """

    spec = MethodSpec(
        name="oracle",
        title="truth",
        family="control",
        reads="input",
        reference="the planted parts",
        training_free=True,
        stable=True,
        uses_seed=False,
    )
    fitted: ClassVar[tuple[str, ...]] = ("atoms", "offsets", "parent", "patterns")

    atoms: Tensor
    """(n_units, d_in) weights of the parts, or (n_units, d_out) output directions of the concepts"""
    offsets: Tensor
    """(n_units,) biases of the parts, or (d_out,) the layer's bias"""
    parent: Tensor
    """(n_units,) int64 neuron of each part; empty in superposition"""
    patterns: Tensor
    """(n_units, d_in) input patterns of the concepts; empty if neurons have parts"""

    def fit(
        self,
        tokens: Tokens,
        site: LinearSite,
        *,
        seed: int = 42,
        device: Device = "cpu",
        progress: Progress = no_progress,
    ) -> Oracle:
        truth = truth_of(site)
        if truth is None:
            raise UserError(
                "The methods oracle and collapsed need a layer with a known truth: use a backbone planted:NAME."
            )
        if truth.parts is not None:
            self.atoms, self.offsets, self.parent = truth.parts.weights, truth.parts.biases, truth.parts.parent
            self.patterns = torch.empty(0, site.d_in)
        elif truth.patterns is not None:
            self.atoms, self.offsets = truth.writers, site.bias.detach().cpu()
            self.parent = torch.empty(0, dtype=torch.int64)
            self.patterns = truth.patterns
        return self.to(device)

    @property
    def _has_parts(self) -> bool:
        return len(self.patterns) == 0

    def encode(self, x: Tensor) -> Tensor:
        self.require_fitted()
        if self._has_parts:
            return functional.linear(x, self.atoms.to(x), self.offsets.to(x))
        return sparse_strengths(x, self.patterns.to(x))

    def decode(self, codes: Tensor, x: Tensor | None = None) -> Tensor:
        self.require_fitted()
        if not self._has_parts:
            return codes @ self.atoms.to(codes) + self.offsets.to(codes)
        width = int(self.parent.max()) + 1
        return codes.new_zeros(len(codes), width).index_add_(1, self.parent.to(codes.device), codes)

    def dictionary(self) -> Dictionary:
        self.require_fitted()
        return Dictionary(self.atoms, self.parents, "reader" if self._has_parts else "writer")

    @property
    def parents(self) -> Tensor | None:
        self.require_fitted()
        return self.parent if self._has_parts else None

    @property
    def n_units(self) -> int:
        self.require_fitted()
        return len(self.atoms)


class Collapsed(Oracle):
    """Oracle in which every unit is a copy of the first one.

    It shows the value that a metric has on a dictionary that repeats one true direction.
    """

    spec = Oracle.spec._replace(
        name="collapsed", title="truth, collapsed", reference="the first planted part, repeated"
    )

    def encode(self, x: Tensor) -> Tensor:
        codes = super().encode(x)
        return codes[:, :1].expand_as(codes)

    def dictionary(self) -> Dictionary:
        truth = super().dictionary()
        return truth._replace(atoms=truth.atoms[:1].expand_as(truth.atoms))


def sparse_strengths(q: Tensor, patterns: Tensor) -> Tensor:
    """Return the strengths s >= 0 (n, C) that minimise ``|q - s P|^2 / 2 + lambda sum(s)``.

    The inputs q are (n, d_in), and the patterns P (C, d_in). The solver is :data:`STEPS` accelerated projected
    gradient steps (FISTA, Beck and Teboulle 2009), with ``lambda = SPARSITY * mean |P_c|^2``.
    """
    gram = patterns @ patterns.T
    pull = q @ patterns.T - SPARSITY * gram.diagonal().mean()
    step = 1 / torch.linalg.matrix_norm(gram, 2)
    strengths = torch.zeros_like(pull)
    ahead, momentum = strengths, 1.0
    for _ in range(STEPS):
        new = (ahead - step * (ahead @ gram - pull)).clamp_min(0)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = new + (momentum - 1) / following * (new - strengths)
        strengths, momentum = new, following
    return strengths
