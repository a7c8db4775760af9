"""Relaxed archetypal sparse autoencoder: atoms are convex combinations of tokens plus a small relaxation."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from methods import register
from methods.base import MethodSpec, Tokens
from methods.errors import UserError
from methods.number_types import Real, Whole
from methods.numerics import sklearn_threads
from methods.sae.config import PreBiasConfig, SAEConfig, checked_k
from methods.sae.library import Start, build, start_of
from methods.sae.method import ActivationForm, LinearSAE
from methods.sae.topk import TopKAutoencoder, keep_largest
from methods.training.batches import generator_of
from methods.training.dense_codes import to_shares
from methods.training.normaliser import Normaliser

#: Number of tokens used by the k-means of the archetype points, if there are fewer points.
KMEANS_TOKENS = 200_000

#: Seed of the k-means: a constant, because all initialisations have the same points.
KMEANS_SEED = 0


class ArchetypalConfig(PreBiasConfig, SAEConfig):
    """Settings of the archetypal SAE."""

    sparsity: Real = Field(0.1, gt=0, le=1, description="active units per token as a share of all (App. E.1)")
    k: Whole | None = Field(None, ge=1, le=1_048_576, description="active units per token; replaces sparsity")
    points: Whole | None = Field(
        None, ge=1, le=10_000_000, description="archetype points, at least one per unit; None: one per unit"
    )
    point_source: Literal["tokens", "kmeans"] = Field(
        "kmeans", description="points are k-means centres of the probing tokens, or tokens; the same for all seeds"
    )
    delta: Real = Field(1.0, ge=0, le=1e6, description="longest relaxation of an atom, in normalised space")

    def k_of(self, name: str, n_units: int) -> int:
        """Return the number of active units per token; see :func:`checked_k`."""
        return checked_k(self.k if self.k is not None else max(1, round(self.sparsity * n_units)), name, n_units)


class ArchetypalAutoencoder(TopKAutoencoder):
    """``atoms = exp(multiplier) * (mixture @ points + relaxation)``, TopK codes (Fel et al. 2025, eq. 4).

    Rows of ``mixture`` (n_units, n_points) are >= 0 and sum to 1; rows of ``relaxation`` (n_units, d) have a length of
    at most ``config.delta``.
    """

    config: ArchetypalConfig
    points: Tensor
    """(n_points, d)"""

    def __init__(self, start: Start, config: ArchetypalConfig, k: int, points: Tensor) -> None:
        super().__init__(start, config, k)
        n_units = len(start.weight)
        if len(points) < n_units:
            raise UserError(
                f"archetypal_sae has {n_units} units and {len(points)} archetype points, which leaves atoms of length "
                "0: set points to at least the number of units, or lower expansion_factor."
            )
        del self.directions
        self.register_buffer("points", points)
        self.mixture = nn.Parameter(torch.eye(n_units, len(points)))
        self.relaxation = nn.Parameter(torch.zeros(n_units, points.shape[1]))
        self.multiplier = nn.Parameter(torch.zeros(()))

    def atoms(self) -> Tensor:
        return (self.mixture @ self.points + self.relaxation) * self.multiplier.exp()

    @torch.no_grad()
    def project(self) -> None:
        to_shares(self.mixture)
        length, delta = self.relaxation.norm(dim=1, keepdim=True), self.config.delta
        # A length of 0 is within any bound: dividing by it gives NaN for delta = 0.
        self.relaxation.mul_(torch.where(length > delta, delta / length.clamp_min(1e-30), 1.0))


def archetype_points(tokens: Tokens, normaliser: Normaliser, number: int, *, source: str) -> Tensor:
    """Return points (number, d) in normalised space whose convex combinations are the atoms.

    In Fel et al. 2025 they are an input, the same for all initialisations. Here they follow from the tokens and their
    number alone, so that runs of several seeds share them: no draw depends on the seed of the fit.

    Raises:
        UserError: if there are fewer tokens than points.
    """
    if tokens.n < number:
        raise UserError(
            f"archetypal_sae needs {number} archetype points, but there are only {tokens.n} probing tokens: "
            "lower points, or expansion_factor if points is not set, or keep more tokens per image."
        )
    order = torch.randperm(tokens.n, generator=generator_of("archetype points", number)).numpy()
    drawn = normaliser(tokens.gather("output", np.sort(order[:number])))
    if source == "tokens":
        return drawn
    from sklearn.cluster import MiniBatchKMeans

    n_seen = max(KMEANS_TOKENS, number)
    seen = normaliser(tokens.gather("output", np.sort(order[:n_seen]))).numpy()
    # A centre of few tokens is not moved onto a token drawn at random, where another centre may be: two units would be
    # equal. All centres start on tokens, so none is far from all of them.
    kmeans = MiniBatchKMeans(
        number, init=drawn.numpy(), n_init=1, batch_size=8192, random_state=KMEANS_SEED, reassignment_ratio=0
    )
    with sklearn_threads():
        kmeans.fit(seen)
    return torch.from_numpy(kmeans.cluster_centers_.astype(np.float32))


@register
class ArchetypalSAE(LinearSAE[ArchetypalAutoencoder]):
    """Relaxed archetypal sparse autoencoder, RA-SAE (Fel et al. 2025), with TopK codes."""

    spec = MethodSpec(
        name="archetypal_sae",
        title="Archetypal SAE",
        family="sae",
        reads="output",
        reference="Fel et al. 2025, Archetypal SAE; overcomplete",
        # Version 2: the points follow from the tokens alone, and are k-means centres by default. They were tokens drawn
        # by the init seed, so that fits of two seeds had different dictionaries to begin with.
        version=2,
    )
    Config = ArchetypalConfig

    def trainee(self, n_units: int, tokens: Tokens, normaliser: Normaliser, seed: int) -> ArchetypalAutoencoder:
        config: ArchetypalConfig = self.config
        points = archetype_points(tokens, normaliser, config.points or n_units, source=config.point_source)
        k = config.k_of(self.spec.name, n_units)
        module = build("RATopKSAE", tokens.width("output"), n_units, points, seed=seed, top_k=k)
        return ArchetypalAutoencoder(start_of(module, config.encoder_start), config, k, points)

    def activate(self, pre: Tensor) -> Tensor:
        return keep_largest(torch.relu(pre), self.config.k_of(self.spec.name, pre.shape[-1]))

    def activation_form(self) -> ActivationForm:
        return ActivationForm("topk", self.config.k_of(self.spec.name, len(self.atoms)))
