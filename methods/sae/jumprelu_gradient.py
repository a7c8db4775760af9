"""JumpReLU and the step function with straight-through gradients for their thresholds.

Rajamanoharan et al. 2024, eq. 11 and 12, with the rectangle kernel ``K(u) = 1 for |u| <= 1/2``:
``d JumpReLU / d threshold = -(threshold / bandwidth) K((z - threshold) / bandwidth)`` and
``d step / d threshold = -(1 / bandwidth) K((z - threshold) / bandwidth)``. In the library a kernel that carries its
``1 / bandwidth`` already is divided by the bandwidth once more, which makes the gradient a thousand times too large at
its default.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from methods.training import dense_kernels, kernels


def _window(pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    """Return the rectangle kernel of width ``bandwidth`` about the threshold, with integral 1."""
    return ((pre - threshold).abs() <= bandwidth / 2).to(pre.dtype) / bandwidth


class JumpReLU(torch.autograd.Function):
    """``pre`` if it is above ``threshold``, else 0; both have the same shape."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return pre * (pre > threshold)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        pre, threshold = ctx.saved_tensors
        (gradient,) = gradients
        return gradient * (pre > threshold), -threshold * _window(pre, threshold, ctx.bandwidth) * gradient, None


class Step(torch.autograd.Function):
    """1 if ``pre`` is above ``threshold``, else 0; both have the same shape. No gradient for ``pre``."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return (pre > threshold).to(pre.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        pre, threshold = ctx.saved_tensors
        return None, -_window(pre, threshold, ctx.bandwidth) * gradients[0], None


def jump_relu(pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    """Return JumpReLU of pre-codes; ``threshold`` is broadcast to their shape."""
    value: Tensor = JumpReLU.apply(pre, threshold.expand_as(pre), bandwidth)
    return value


def step(pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    """Return the step function of pre-codes; ``threshold`` is broadcast to their shape."""
    value: Tensor = Step.apply(pre, threshold.expand_as(pre), bandwidth)
    return value


class FusedJump(torch.autograd.Function):
    """JumpReLU codes (n, n_units) and their number (), of pre-codes that are already computed, on the CPU.

    The same gradients as :func:`jump_relu` and :func:`step` in two passes over the entries instead of twenty.
    Differentiable in weight, bias and thresholds (n_units,).
    """

    @staticmethod
    def forward(
        ctx: Any, pre: Tensor, x: Tensor, weight: Tensor, bias: Tensor, thresholds: Tensor, bandwidth: float
    ) -> tuple[Tensor, Tensor]:
        codes = torch.empty_like(pre)
        counts = np.empty(len(pre), dtype=np.int64)
        dense_kernels.jump_forward(pre.numpy(), thresholds.detach().numpy(), codes.numpy(), counts)
        ctx.save_for_backward(pre, x, thresholds)
        ctx.bandwidth = bandwidth
        return codes, torch.tensor(float(counts.sum()), dtype=pre.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        pre, x, thresholds = ctx.saved_tensors
        of_codes, of_count = gradients
        slope, codes_slope = torch.empty_like(pre), of_codes.contiguous().numpy()
        totals = np.zeros((kernels.RANGES, pre.shape[1]), dtype=slope.numpy().dtype)
        arrays = pre.numpy(), thresholds.detach().numpy(), codes_slope
        dense_kernels.jump_backward(*arrays, float(of_count), ctx.bandwidth, slope.numpy(), totals)
        return None, None, slope.T @ x, slope.sum(0), torch.from_numpy(totals).sum(0), None
