"""Principal components: the optimal linear reconstruction for a given number of units."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from methods import register
from methods.base import Device, LinearSite, MethodConfig, MethodSpec, Progress, Tokens
from methods.dictionaries.base import LinearDictionary, skewness_signs
from methods.errors import UserError
from methods.half_precision import in_float32
from methods.number_types import Whole
from methods.pretrained.trained_dictionary import TrainedConfig, TrainedDictionary
from methods.training.normaliser import Normaliser


class PCAConfig(MethodConfig):
    """Settings of PCA."""

    n_components: Whole | None = Field(None, ge=1, le=1_048_576, description="None: one per neuron")


@register
class PCA(LinearDictionary):
    """Codes are the coordinates along the eigenvectors of the tokens' covariance, largest variance first."""

    spec = MethodSpec(
        name="pca",
        title="PCA",
        family="control",
        reads="output",
        reference="Pearson 1901",
        training_free=True,
        stable=True,
        uses_seed=False,
    )
    Config = PCAConfig

    def learn(self, tokens: Tokens, site: LinearSite, seed: int, device: Device, progress: Progress) -> None:
        number = self.config.n_components or site.d_out
        if number > site.d_out:
            raise UserError(
                f"pca.n_components = {number}, but the layer has only {site.d_out} neurons: lower n_components."
            )
        mean = Normaliser(tokens, "output").mean.double()
        covariance = torch.zeros(site.d_out, site.d_out, dtype=torch.float64)
        done = 0
        for batch in tokens.batches("output", 65536):
            rows = batch.double() - mean
            covariance += rows.T @ rows
            done += len(batch)
            progress(done, tokens.n, "tokens")
        vectors = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :number].T.float()
        first = next(iter(tokens.batches("output", 65536))) - mean.float()
        signs = skewness_signs(first @ vectors.T)
        self.atoms, self.output_bias = (vectors * signs[:, None]).contiguous(), mean.float()

    @in_float32
    def encode(self, x: Tensor) -> Tensor:
        self.require_fitted()
        return (x - self.output_bias.to(x)) @ self.atoms.to(x).T

    def as_trained_dictionary(self) -> TrainedDictionary:
        self.require_fitted()
        return self.with_encoder(self.atoms, TrainedConfig(activation="linear"))
