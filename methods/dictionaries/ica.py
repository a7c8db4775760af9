"""Independent component analysis: directions along which the tokens are least Gaussian."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from methods import register
from methods.base import Device, LinearSite, MethodConfig, MethodSpec, Progress, Tokens
from methods.dictionaries.base import LinearDictionary, sample_tokens, skewness_signs
from methods.errors import UserError


class ICAConfig(MethodConfig):
    """Settings of ICA."""

    n_components: int | None = Field(None, ge=1, description="None: one per neuron")
    max_iterations: int = Field(200, ge=1)
    tolerance: float = Field(1e-3, gt=0)
    max_tokens: int = Field(50_000, ge=2, description="largest number of tokens to fit on, drawn with the seed")


@register
class ICA(LinearDictionary):
    """FastICA (Hyvärinen 1999) of scikit-learn: signed codes of unit variance, heavier tail on the positive side."""

    spec = MethodSpec(
        name="ica",
        title="ICA",
        family="control",
        reads="output",
        reference="Hyvärinen 1999, Fast and robust fixed-point algorithms for ICA; scikit-learn",
    )
    Config = ICAConfig
    fitted = ("unmixing", "atoms", "output_bias")

    unmixing: Tensor
    """(n_units, d_out)"""

    def learn(self, tokens: Tokens, site: LinearSite, seed: int, device: Device, progress: Progress) -> None:
        from sklearn.decomposition import FastICA
        from sklearn.exceptions import ConvergenceWarning

        config: ICAConfig = self.config
        wanted = config.n_components or site.d_out
        if wanted > site.d_out:
            raise UserError(f"ica.n_components = {wanted}, but the layer has only {site.d_out} neurons.")
        rows = sample_tokens(tokens, config.max_tokens, seed).numpy()
        # Without the covariance solver, whitening divides by singular values that are rounding noise.
        rank = int(np.linalg.matrix_rank(rows - rows.mean(0)))
        number = min(wanted, rank)
        if number < wanted:
            self.notes.append(f"The tokens span only {rank} dimensions, so there are {number} components.")
        model = FastICA(
            number, whiten="unit-variance", max_iter=config.max_iterations, tol=config.tolerance, random_state=seed
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            codes = torch.from_numpy(model.fit_transform(rows))
        if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
            self.notes.append(f"FastICA did not converge in {config.max_iterations} iterations.")
        signs = skewness_signs(codes)[:, None].float()
        self.unmixing = (torch.from_numpy(model.components_).float() * signs).contiguous()
        self.atoms = (torch.from_numpy(model.mixing_.T.copy()).float() * signs).contiguous()
        self.output_bias = torch.from_numpy(model.mean_).float()

    def encode(self, x: Tensor) -> Tensor:
        self.require_fitted()
        unmixing = self.unmixing.to(x)
        return functional.linear(x, unmixing, -unmixing @ self.output_bias.to(x))
