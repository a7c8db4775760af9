"""Multinomial logistic regression on a device, in chunks of rows, to the optimum that scikit-learn's has.

scikit-learn's ``LogisticRegression`` computes on a GPU as well since version 1.9, but it holds several matrices of all
rows and all classes in float64: 10 GB each for ImageNet.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from methods.base import Device, Progress, no_progress
from methods.memory import free_memory, is_out_of_memory

#: Largest gradient of the mean loss, in any coefficient, at which the fit ends. scikit-learn's default of 1e-4 ends too
#: early for many classes: with a thousand, gradients are small from the start.
TOLERANCE = 1e-6
MOST_ITERATIONS = 2000
#: Entries of the rows, and of their logits, that are computed at once: 256 MiB of float64.
CHUNK_ENTRIES = 1 << 25
#: Share of a GPU's free memory that the features may take; otherwise each pass copies them there in chunks.
FEATURE_SHARE = 0.5


class LogisticFit(NamedTuple):
    """Coefficients of standardised features, in the form of scikit-learn's ``coef_`` and ``intercept_``."""

    coefficients: Tensor
    """(n_classes, d) float64; (1, d) for two classes: those of the second against the first"""
    intercepts: Tensor
    """(n_classes,) or (1,) float64"""
    iterations: int
    gradient: float
    """largest gradient of the mean loss at the end"""


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and unbiased standard deviation (d,) float64 of features (n, d), without copying them to float64."""
    n, d = features.shape
    chunks = features.split(max(1, CHUNK_ENTRIES // d))
    total = torch.zeros(d, dtype=torch.float64, device=features.device)
    for chunk in chunks:
        total += chunk.double().sum(0)
    mean = total / n
    squares = torch.zeros_like(mean)
    for chunk in chunks:
        squares += (chunk.double() - mean).square_().sum(0)
    return mean, (squares / (n - 1)).sqrt()


def fit_logistic(
    features: Tensor,
    labels: Tensor,
    mean: Tensor,
    scale: Tensor,
    *,
    device: Device,
    tolerance: float = TOLERANCE,
    progress: Progress = no_progress,
) -> LogisticFit:
    """Minimise the objective of ``LogisticRegression()``: cross-entropy summed over the rows, plus half the squares.

    The intercept is not penalised. As in scikit-learn, SciPy's L-BFGS-B minimises the objective divided by the number
    of rows, in float64. Loss and gradient are computed on ``device`` in chunks of rows, so that memory does not grow
    with rows times classes.

    Args:
        features: (n, d) floating-point, on any device; copied to ``device`` if they fit.
        labels: (n,) int64 classes 0, 1, ..., each of which occurs; at least two.
        mean: (d,) subtracted from the features.
        scale: (d,) by which they are then divided.
        tolerance: largest gradient of the objective per row at which the fit ends.
    """
    from scipy.optimize import minimize

    objective = Objective(features, labels, mean, scale, torch.device(device))
    iterations = 0

    def report(_: np.ndarray) -> None:
        nonlocal iterations
        iterations += 1
        progress(iterations, MOST_ITERATIONS, "iterations of the linear probe, at most")

    result = minimize(
        objective,
        np.zeros(objective.n_rows * (objective.d + 1)),
        method="L-BFGS-B",
        jac=True,
        callback=report,
        options={
            "gtol": tolerance,
            "ftol": 64 * np.finfo(np.float64).eps,
            "maxls": 50,
            "maxiter": MOST_ITERATIONS,
            "maxfun": 10 * MOST_ITERATIONS,
        },
    )
    gradient = float(np.abs(result.jac).max())
    if not result.success:
        warnings.warn(
            f"The linear probe has not converged after {result.nit} iterations: its largest gradient is "
            f"{gradient:.1e}, and {tolerance:.1e} was wanted.",
            RuntimeWarning,
            stacklevel=2,
        )
    solution = torch.from_numpy(result.x).view(objective.n_rows, objective.d + 1)
    return LogisticFit(solution[:, :-1].clone(), solution[:, -1].clone(), int(result.nit), gradient)


class Objective:
    """Mean cross-entropy plus ``|W|^2 / (2 n)`` with its gradient, at parameters of rows ``(weights, intercept)``."""

    def __init__(self, features: Tensor, labels: Tensor, mean: Tensor, scale: Tensor, device: torch.device) -> None:
        self.n, self.d = features.shape
        n_classes = int(labels.max()) + 1
        # Two classes have one row of coefficients, penalised as such.
        self.n_rows = 1 if n_classes == 2 else n_classes
        self.device = device
        self.features = _on(features, device)
        self.labels = labels.to(device)
        self.mean, self.scale = mean.to(device, torch.float64), scale.to(device, torch.float64)
        self.chunk = max(1, CHUNK_ENTRIES // (self.d + n_classes))

    def __call__(self, parameters: np.ndarray) -> tuple[float, np.ndarray]:
        solution = torch.from_numpy(parameters).view(self.n_rows, self.d + 1).to(self.device)
        weights, intercepts = solution[:, :-1], solution[:, -1]
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        gradient = torch.zeros_like(solution)
        for rows, labels in zip(self.features.split(self.chunk), self.labels.split(self.chunk), strict=True):
            x = (rows.to(self.device, torch.float64) - self.mean).div_(self.scale)
            logits = torch.addmm(intercepts, x, weights.T)
            if self.n_rows == 1:
                logits = functional.pad(logits, (1, 0))
            log_shares = logits.log_softmax(1)
            right = labels[:, None]
            loss -= log_shares.gather(1, right).sum()
            residual = log_shares.exp_()
            residual.scatter_add_(1, right, torch.full_like(residual[:, :1], -1.0))
            if self.n_rows == 1:
                residual = residual[:, 1:]
            gradient[:, :-1].addmm_(residual.T, x)
            gradient[:, -1] += residual.sum(0)
        gradient[:, :-1] += weights
        value = (loss + 0.5 * weights.square().sum()) / self.n
        return float(value), (gradient / self.n).flatten().cpu().numpy()


def _on(features: Tensor, device: torch.device) -> Tensor:
    """Return the features on a GPU if they take at most half of its free memory; otherwise where they are."""
    if device.type != "cuda":
        return features
    free = free_memory(device)
    if free is None or features.nbytes > FEATURE_SHARE * free:
        return features
    try:
        return features.to(device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return features
