"""Independent component analysis: directions along which the tokens are least Gaussian."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from methods import register
from methods.base import Device, LinearSite, MethodConfig, MethodSpec, Progress, Tokens
from methods.dictionaries.base import LinearDictionary, sample_tokens, skewness_signs
from methods.errors import UserError
from methods.half_precision import in_float32
from methods.number_types import Real, Whole
from methods.pretrained.trained_dictionary import TrainedConfig, TrainedDictionary
from methods.training.normaliser import Normaliser

if TYPE_CHECKING:
    from sklearn.decomposition import FastICA


class ICAConfig(MethodConfig):
    """Settings of ICA."""

    n_components: Whole | None = Field(None, ge=1, le=1_048_576, description="None: one per neuron")
    max_iterations: Whole = Field(200, ge=1, le=1_000_000)
    tolerance: Real = Field(1e-3, ge=1e-12, le=1)
    max_tokens: Whole = Field(
        50_000, ge=2, le=1_000_000_000, description="largest number of tokens to fit on, drawn with the seed"
    )


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
        Normaliser(tokens, "output")  # raises if all tokens are the same, or too large
        rows = sample_tokens(tokens, config.max_tokens, seed).numpy()
        # Without the covariance solver, whitening divides by singular values that are rounding noise.
        rank = _rank(rows)
        if rank == 0:
            raise UserError(f"All {len(rows)} sampled tokens are the same, so ica finds nothing: raise ica.max_tokens.")
        number = min(wanted, rank)
        if number < wanted:
            self.notes.append(f"The tokens span only {rank} dimensions, so there are {number} components.")
        model = FastICA(
            number, whiten="unit-variance", max_iter=config.max_iterations, tol=config.tolerance, random_state=seed
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            codes = _transformed(model, rows)
        if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
            self.notes.append(f"FastICA did not converge in {config.max_iterations} iterations.")
        signs = skewness_signs(codes)[:, None].float()
        self.unmixing = (torch.from_numpy(model.components_).float() * signs).contiguous()
        self.atoms = (torch.from_numpy(model.mixing_.T.copy()).float() * signs).contiguous()
        self.output_bias = torch.from_numpy(model.mean_).float()

    @in_float32
    def encode(self, x: Tensor) -> Tensor:
        self.require_fitted()
        unmixing = self.unmixing.to(x)
        return functional.linear(x, unmixing, -unmixing @ self.output_bias.to(x))

    def as_trained_dictionary(self) -> TrainedDictionary:
        self.require_fitted()
        return self.with_encoder(self.unmixing, TrainedConfig(activation="linear"))


def _transformed(model: FastICA, rows: np.ndarray) -> Tensor:
    """Fit the model and return the codes (n, n_components) of rows (n, d).

    Raises:
        UserError: if scikit-learn's float32 arithmetic ends in NaN, as with one feature that is 1e7 times the others.
    """
    try:
        codes = torch.from_numpy(model.fit_transform(rows))
        finite = bool(codes.isfinite().all()) and bool(np.isfinite(model.components_).all())
    except (ValueError, np.linalg.LinAlgError):
        finite = False
    if not finite:
        deviation = rows.std(0)
        raise UserError(
            f"ica: FastICA finds no finite components, because the features' standard deviations range from "
            f"{deviation.min():.3g} to {deviation.max():.3g}: leave ica out for this layer."
        )
    return codes


def _rank(rows: np.ndarray) -> int:
    """Return the rank of rows (n, d) about their mean, without directions that consist of rounding errors.

    numpy's tolerance is relative to the largest singular value. If all rows are the same, that is a rounding error of
    the mean itself, of the size ``eps |mean|`` per row.
    """
    mean = rows.mean(0, dtype=np.float64)
    singular = np.linalg.svd((rows - mean).astype(rows.dtype), compute_uv=False)
    eps = float(np.finfo(rows.dtype).eps)
    relative = float(singular[0]) * max(rows.shape) * eps
    rounding = eps * float(np.linalg.norm(mean)) * len(rows) ** 0.5
    return int((singular > max(relative, rounding)).sum())
