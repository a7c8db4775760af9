"""k-means: each token is assigned to one unit."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from methods import register
from methods.base import Device, LinearSite, MethodConfig, MethodSpec, Progress, Tokens
from methods.dictionaries.base import LinearDictionary, sample_tokens
from methods.errors import UserError
from methods.half_precision import in_float32
from methods.number_types import Real, Whole
from methods.numerics import sklearn_threads
from methods.training.normaliser import Normaliser


class KMeansConfig(MethodConfig):
    """Settings of k-means."""

    expansion_factor: Real = Field(8, ge=1e-6, le=100_000, description="units per neuron of the layer")
    code: Literal["projection", "one_hot"] = Field(
        "projection", description="code of the nearest centre: least-squares length along it, or 1"
    )
    max_tokens: Whole = Field(
        200_000, ge=2, le=1_000_000_000, description="largest number of tokens to fit on, drawn with the seed"
    )
    batch_size: Whole = Field(4096, ge=1, le=1_048_576)
    epochs: Whole = Field(10, ge=1, le=100_000)


@register
class KMeans(LinearDictionary):
    """Atoms are the centres of mini-batch k-means (Sculley 2010) on centred tokens; one unit is active per token.

    With ``code="projection"`` the active unit's code is ``max(0, <x, c> / |c|^2)``, so that a unit's images can be
    ranked. Its reconstruction is never worse than that of the plain centre.
    """

    spec = MethodSpec(
        name="kmeans",
        title="k-means",
        family="control",
        reads="output",
        reference="Sculley 2010, Web-scale k-means clustering; scikit-learn",
    )
    Config = KMeansConfig

    @classmethod
    def least_memory(cls, config: Any, d_in: int, d_out: int) -> int:
        """Return the bytes of the atoms in float32."""
        n_units = int(config.expansion_factor * d_out)
        return 4 * n_units * d_out

    def learn(self, tokens: Tokens, site: LinearSite, seed: int, device: Device, progress: Progress) -> None:
        from sklearn.cluster import MiniBatchKMeans

        config: KMeansConfig = self.config
        n_units = max(1, round(config.expansion_factor * site.d_out))
        normalise = Normaliser(tokens, "output")
        rows = normalise(sample_tokens(tokens, config.max_tokens, seed)).numpy()
        if len(rows) < n_units:
            raise UserError(
                f"kmeans needs at least {n_units} probing tokens for {n_units} centres, but there are {len(rows)}: "
                "lower expansion_factor or keep more tokens per image."
            )
        model = MiniBatchKMeans(
            n_units, init="random", n_init=1, max_iter=config.epochs, batch_size=config.batch_size, random_state=seed
        )
        with sklearn_threads():
            model.fit(rows)
        centres = torch.from_numpy(model.cluster_centers_).float()
        self.atoms, self.output_bias = (centres * normalise.scale).contiguous(), normalise.mean

    @in_float32
    def encode(self, x: Tensor) -> Tensor:
        self.require_fitted()
        atoms = self.atoms.to(x)
        products = (x - self.output_bias.to(x)) @ atoms.T
        squares = atoms.square().sum(1)
        codes = torch.zeros_like(products)
        if not len(x):
            return codes
        closeness = 2 * products - squares
        nearest = closeness.argmax(1, keepdim=True)
        if self.config.code == "one_hot":
            # A token with NaN or infinity has no nearest centre.
            one = torch.where(closeness.gather(1, nearest).isfinite(), 1.0, torch.nan).to(codes)
            return codes.scatter_(1, nearest, one)
        length = products.gather(1, nearest) / squares[nearest].clamp_min(1e-12)
        return codes.scatter_(1, nearest, length.clamp_min(0))
