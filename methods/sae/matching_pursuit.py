"""Matching pursuit sparse autoencoder: codes are k greedy steps on the residual, without an encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from methods import register
from methods.base import MethodSpec, Tokens
from methods.half_precision import in_float32
from methods.pretrained.trained_dictionary import TrainedConfig, TrainedDictionary
from methods.sae.config import FixedL0
from methods.sae.library import build
from methods.sae.matching_pursuit_steps import CachedGram, Path, Residual, pursue
from methods.sae.method import SparseMethod
from methods.sae.parallel_gradient import remove_parallel_gradient
from methods.sae.revival import revival
from methods.training.loop import StepLoss, Trainee
from methods.training.normaliser import Normaliser


class PursuitAutoencoder(Trainee):
    """Unit atoms trained to minimise the residual of k greedy steps: ``mean residual^2``, less the dead-unit term.

    The pre-codes of the dead-unit term are the last residual times the atoms, i.e. the step that each unit would take
    next.
    """

    def __init__(self, directions: Tensor, config: FixedL0, k: int) -> None:
        super().__init__()
        self.directions = nn.Parameter(directions.clone())
        self.config, self.k = config, k

    @torch.no_grad()
    def project(self) -> None:
        """Normalise the atoms to length 1, as the greedy step requires."""
        self.directions.div_(self.directions.norm(dim=1, keepdim=True) + 1e-8)

    def adjust_gradients(self) -> None:
        if self.config.remove_parallel_gradient:
            remove_parallel_gradient(self.directions)

    def loss(self, *batch: Tensor) -> StepLoss:
        x = batch[0]
        path = pursue(x, self.directions.detach(), self.k)
        residual: Tensor = Residual.apply(x, self.directions, path)
        error = residual.square().mean()
        fires = _fires(path, len(self.directions))
        total = error
        if weight := self.config.dead_weight_of(len(x)):
            total = error - weight * revival(residual.mean(0), self.directions, None, fires == 0)
        return StepLoss(total, error, fires)


def _fires(path: Path, n_units: int) -> Tensor:
    """Return the (n_units,) number of rows in which each unit is chosen, once or more often."""
    ordered = path.units.sort(1).values
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    # Not bincount, which waits for a GPU to learn the largest unit. Counts are exact in float32, in any order.
    counts = torch.zeros(n_units, device=ordered.device)
    return counts.index_add_(0, ordered.flatten(), first.flatten().float())


@register
class MatchingPursuitSAE(SparseMethod[PursuitAutoencoder]):
    """Matching pursuit sparse autoencoder, MP-SAE (Costa et al. 2025): at most k active units per token, signed."""

    spec = MethodSpec(
        name="matching_pursuit_sae",
        title="Matching Pursuit SAE",
        family="sae",
        reads="output",
        reference="Costa et al. 2025, From flat to hierarchical: extracting sparse representations with matching "
        "pursuit; overcomplete",
    )
    Config = FixedL0
    fitted = ("atoms", "output_bias", "scale")

    scale: Tensor
    """() length of every atom; codes are steps in multiples of it"""
    _cached_gram = CachedGram()

    def trainee(self, n_units: int, tokens: Tokens, normaliser: Normaliser, seed: int) -> PursuitAutoencoder:
        k = self.config.k_of(self.spec.name, n_units)
        module = build("MpSAE", tokens.width("output"), n_units, seed=seed, k=k)
        return PursuitAutoencoder(module.dictionary._weights.detach(), self.config, k)

    def fold(self, trainee: PursuitAutoencoder, reads: Normaliser, writes: Normaliser) -> None:
        self.scale = torch.tensor(writes.scale)
        self.atoms = trainee.directions.detach() * writes.scale
        self.output_bias = writes.mean.clone()

    @in_float32
    def encode(self, x: Tensor) -> Tensor:
        self.require_fitted()
        directions = (self.atoms / self.scale).to(x)
        rows = (x - self.output_bias.to(x)) / self.scale.to(x)
        self._cached_gram = self._cached_gram.of(directions, self.atoms)
        path = pursue(rows, directions, self.config.k, self._cached_gram.matrix)
        return x.new_zeros(len(x), len(directions)).scatter_add_(1, path.units, path.values)

    def as_trained_dictionary(self) -> TrainedDictionary:
        self.require_fitted()
        # A step along a unit atom in the normalised space: <(x - mean) / scale, atom / scale>.
        weight = self.atoms / self.scale.square()
        tensors = {"encoder_weight": weight, "encoder_bias": -weight @ self.output_bias}
        config = TrainedConfig(activation="matching_pursuit", k=self.config.k)
        return TrainedDictionary.of(config, {**tensors, "atoms": self.atoms, "output_bias": self.output_bias})
