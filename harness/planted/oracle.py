"""The oracle: the planted parts themselves, as a method. It shows what a metric says of the truth."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from harness.errors import UserError
from harness.planted.truth import truth_of
from methods.base import Device, Dictionary, LinearSite, Method, MethodSpec, Progress, Tokens, no_progress

#: Steps of the pursuit of sparse strengths; the error is far below the noise of any world by then.
STEPS = 200

#: Weight of the sum of strengths in the pursuit, as a share of a pattern's squared length.
SPARSITY = 0.02


class Oracle(Method):
    """Where neurons have parts: their codes, and the neuron as the sum of them. In superposition: the strengths of the
    concepts, found from q with the true patterns, and ``a`` as the sum of what they write.
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
    """(n_units, d_in) parts, or (n_units, d_out) what each concept writes"""
    offsets: Tensor
    """(n_units,) biases of the parts, or (d_out,) the layer's bias"""
    parent: Tensor
    """(n_units,) int64 neuron of each part; empty in superposition"""
    patterns: Tensor
    """(n_units, d_in) of the concepts; empty where neurons have parts"""

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
                "The method oracle knows the truth of planted layers only: run it with a planted: backbone."
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

    def decode(self, codes: Tensor) -> Tensor:
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
    """As many units as the truth has, each of them its first one: what a metric says of a dictionary that repeats one
    true direction over and over.
    """

    spec = MethodSpec(
        name="collapsed",
        title="truth, collapsed",
        family="control",
        reads="input",
        reference="the first planted part, repeated",
        training_free=True,
        stable=True,
        uses_seed=False,
    )

    def encode(self, x: Tensor) -> Tensor:
        codes = super().encode(x)
        return codes[:, :1].expand_as(codes)

    def dictionary(self) -> Dictionary:
        truth = super().dictionary()
        return truth._replace(atoms=truth.atoms[:1].expand_as(truth.atoms))


def sparse_strengths(q: Tensor, patterns: Tensor) -> Tensor:
    """Strengths s >= 0 (n, C) that minimise ``|q - s P|^2 / 2 + lambda sum(s)`` for patterns P (C, d_in).

    By accelerated projected gradient steps (FISTA, Beck and Teboulle 2009), ``lambda = SPARSITY * mean |P_c|^2``.
    """
    gram = patterns @ patterns.T
    pull = q @ patterns.T - SPARSITY * gram.diagonal().mean()
    step = 1 / torch.linalg.matrix_norm(gram, 2)
    found = torch.zeros_like(pull)
    ahead, momentum = found, 1.0
    for _ in range(STEPS):
        new = (ahead - step * (ahead @ gram - pull)).clamp_min(0)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = new + (momentum - 1) / following * (new - found)
        found, momentum = new, following
    return found
