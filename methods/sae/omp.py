"""Orthogonal matching pursuit: k greedy choices; after each, all codes are refitted by non-negative least squares."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from methods import register
from methods.base import MethodSpec, Tokens
from methods.number_types import Whole
from methods.pretrained.trained_dictionary import TrainedDictionary
from methods.sae.config import FixedL0
from methods.sae.library import build
from methods.sae.matching_pursuit import MatchingPursuitSAE, PursuitAutoencoder
from methods.sae.matching_pursuit_steps import Path, gram_of
from methods.sae.revival import revival
from methods.training import pursuit_kernels
from methods.training.entries import Decoded, Entries, sparse_here
from methods.training.loop import StepLoss
from methods.training.normaliser import Normaliser


class OrthogonalPursuitConfig(FixedL0):
    """Settings of orthogonal matching pursuit."""

    sweeps: Whole = Field(
        10, ge=1, le=10_000, description="passes of coordinate descent over the chosen units, after each choice"
    )


@torch.no_grad()
def orthogonal_pursuit(x: Tensor, atoms: Tensor, k: int, sweeps: int, gram: Tensor | None = None) -> Path:
    """Run orthogonal matching pursuit for each row of x (n, d) with unit atoms (n_units, d), k <= n_units.

    k times, the unit whose correlation with the residual is largest joins the chosen ones S, and their codes become
    ``argmin_{c >= 0} |x - c @ atoms[S]|^2``, by coordinate descent from the last codes (Pati et al. 1993; non-negative:
    Bruckstein et al. 2008). A row does not depend on the other rows.

    Args:
        sweeps: passes over S after each choice.
        gram: ``atoms @ atoms.T``; None: correlations are computed from the residual.
    """
    n = len(x)
    products = x @ atoms.T
    if gram is not None and sparse_here(x):
        path = Path(torch.zeros(n, k, dtype=torch.int64), x.new_zeros(n, k))
        arrays = products.numpy(), gram.contiguous().numpy()
        pursuit_kernels.pursue_orthogonally(*arrays, k, sweeps, path.units.numpy(), path.values.numpy())
        return path
    units = torch.empty(n, k, dtype=torch.int64, device=x.device)
    codes = x.new_zeros(n, k)
    among = x.new_zeros(n, k, k)
    correlations = products.clone()
    for i in range(k):
        if i:
            chosen, weights = units[:, :i], codes[:, :i]
            if gram is not None:
                explained = functional.embedding_bag(chosen, gram, per_sample_weights=weights, mode="sum")
            else:
                explained = functional.embedding_bag(chosen, atoms, per_sample_weights=weights, mode="sum") @ atoms.T
            correlations = (products - explained).scatter_(1, chosen, -torch.inf)
        unit = correlations.argmax(1)
        units[:, i] = unit
        # Products of the new atom with those chosen so far, itself included.
        row = (atoms[units[:, : i + 1]] @ atoms[unit][:, :, None]).squeeze(2)
        among[:, i, : i + 1] = row
        among[:, : i + 1, i] = row
        target = products.gather(1, units[:, : i + 1])
        for _ in range(sweeps if i else 1):
            for j in range(i + 1):
                rest = (among[:, j, : i + 1] * codes[:, : i + 1]).sum(1) - among[:, j, j] * codes[:, j]
                codes[:, j] = ((target[:, j] - rest) / among[:, j, j].clamp_min(1e-12)).clamp_min(0)
    return Path(units, codes)


class OrthogonalPursuitAutoencoder(PursuitAutoencoder):
    """Unit atoms that minimise the residual of orthogonal matching pursuit; its codes are constants of a step."""

    config: OrthogonalPursuitConfig

    def loss(self, *batch: Tensor) -> StepLoss:
        x = batch[0]
        atoms = self.directions.detach()
        # Not in bfloat16: each choice builds on the previous ones.
        with torch.autocast(x.device.type, enabled=False):
            path = orthogonal_pursuit(x, atoms, self.k, self.config.sweeps, gram_of(atoms))
            residual = x - _decoded(path, self.directions)
            error = residual.square().mean()
        active = path.values > 0
        fires = torch.zeros(len(atoms), device=x.device).index_add_(0, path.units.flatten(), active.flatten().float())
        total = error
        if weight := self.config.dead_weight_of(len(x)):
            total = error - weight * revival(residual.mean(0), self.directions, None, fires == 0)
        return StepLoss(total, error, fires)


def _decoded(path: Path, atoms: Tensor) -> Tensor:
    """Return ``codes @ atoms`` (n, d), differentiable in the atoms."""
    if not sparse_here(path.values):
        return functional.embedding_bag(path.units, atoms, per_sample_weights=path.values, mode="sum")
    n, k = path.units.shape
    entries = Entries(path.units.flatten().numpy(), np.arange(0, n * k + 1, k), len(atoms))
    decoded: Tensor = Decoded.apply(path.values.flatten(), atoms, entries)
    return decoded


@register
class OrthogonalPursuitSAE(MatchingPursuitSAE):
    """Dictionary trained for non-negative orthogonal matching pursuit: at most k active units per token.

    As in overcomplete's OMPSAE, a unit is chosen at most once, codes are non-negative, and a step of the training holds
    them constant. The library solves for the codes by gradient steps with a tolerance for the whole batch, so that a
    token's codes depend on the other tokens; here, by coordinate descent.
    """

    spec = MethodSpec(
        name="omp_sae",
        title="OMP SAE",
        family="sae",
        reads="output",
        reference="Pati, Rezaiifar and Krishnaprasad 1993, Orthogonal matching pursuit; overcomplete's OMPSAE",
    )
    Config = OrthogonalPursuitConfig

    def trainee(self, n_units: int, tokens: Tokens, normaliser: Normaliser, seed: int) -> PursuitAutoencoder:
        k = self.config.k_of(self.spec.name, n_units)
        module = build("OMPSAE", tokens.width("output"), n_units, seed=seed, k=k)
        return OrthogonalPursuitAutoencoder(module.dictionary._weights.detach(), self.config, k)

    def encode(self, x: Tensor) -> Tensor:
        self.require_fitted()
        if x.dtype in (torch.float16, torch.bfloat16):
            # Each choice builds on the previous ones, so rounding errors accumulate.
            return self.encode(x.float()).to(x.dtype)
        directions = (self.atoms / self.scale).to(x)
        rows = (x - self.output_bias.to(x)) / self.scale.to(x)
        self._cached_gram = self._cached_gram.of(directions, self.atoms)
        path = orthogonal_pursuit(rows, directions, self.config.k, self.config.sweeps, self._cached_gram.matrix)
        return x.new_zeros(len(x), len(directions)).scatter_(1, path.units, path.values)

    def as_trained_dictionary(self) -> TrainedDictionary:
        # Not that of the base, whose codes are those of plain matching pursuit.
        return super(MatchingPursuitSAE, self).as_trained_dictionary()
