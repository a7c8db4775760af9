"""Absorbing oracle: the planted concepts as units, with some parents silent where one of their children is active."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from harness.errors import UserError
from harness.planted.oracle import Oracle
from harness.planted.truth import truth_of
from methods.base import Device, Dictionary, LinearSite, MethodConfig, Progress, Tokens, no_progress
from methods.number_types import Real

#: A child is active above this strength: half of the smallest strength of a world, and far above the noise.
ACTIVE = 0.25


class AbsorbingConfig(MethodConfig):
    """Settings of the absorbing oracle."""

    share: Real = Field(
        1 / 3, ge=0, le=1, description="share of each parent's children that absorb it, rounded to whole children"
    )


class Absorbing(Oracle):
    """Oracle whose parents are absorbed by some of their children, as sparse autoencoders absorb them.

    Of the K children of each parent, the first ``round(share K)`` absorb it: on tokens on which such a child is active,
    the code of the parent is 0, and the atom of the child is the sum of its direction and the parent's. A token with
    one child then needs one unit instead of two. The reconstruction is not exact, because the parent has a strength of
    its own.

    With m = round(share K), and codes without noise, the metric ``absorption`` is min(m, K - 1) / K. If all K children
    absorb their parent, none of its images activates its unit. The best unit of the parent is then that of a child, on
    whose images nothing is silent.
    """

    spec = Oracle.spec._replace(
        name="absorbing", title="truth, absorbing", reference="the planted concepts; Chanin et al. 2024 (absorption)"
    )
    Config = AbsorbingConfig
    fitted: ClassVar[tuple[str, ...]] = (*Oracle.fitted, "absorbs")

    absorbs: Tensor
    """(n_units, n_units) float: 1 in row c and column p if the child c absorbs the parent p"""

    def fit(
        self,
        tokens: Tokens,
        site: LinearSite,
        *,
        seed: int = 42,
        device: Device = "cpu",
        progress: Progress = no_progress,
    ) -> Absorbing:
        truth = truth_of(site)
        if truth is None or truth.parent_of is None:
            raise UserError(
                "The method absorbing needs a layer whose concepts have parents: use a backbone planted:hierarchical."
            )
        self.absorbs = absorbed_pairs(truth.parent_of, self.config.share)
        super().fit(tokens, site, seed=seed, device=device, progress=progress)
        return self

    def encode(self, x: Tensor) -> Tensor:
        strengths = super().encode(x)
        silent = (strengths > ACTIVE).to(strengths) @ self.absorbs.to(strengths) > 0
        return strengths.masked_fill(silent, 0)

    def decode(self, codes: Tensor, x: Tensor | None = None) -> Tensor:
        self.require_fitted()
        return super().decode(codes + codes @ self.absorbs.to(codes))

    def dictionary(self) -> Dictionary:
        truth = super().dictionary()
        return truth._replace(atoms=truth.atoms + self.absorbs.to(truth.atoms) @ truth.atoms)


def absorbed_pairs(parent_of: Tensor, share: float) -> Tensor:
    """Return (C, C) float: 1 for each child and parent of which the child is among the first round(share K) of K.

    Args:
        parent_of: (C,) int64 parent of each concept, -1 for none.
        share: share of each parent's children.
    """
    pairs = torch.zeros(len(parent_of), len(parent_of))
    for parent in parent_of[parent_of >= 0].unique().tolist():
        children = (parent_of == parent).nonzero()[:, 0]
        pairs[children[: round(share * len(children))], parent] = 1
    return pairs
