"""Mean squared error of a reconstruction on the CPU, with one pass over it in each direction."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from methods.training import dense_kernels, kernels


class MeanSquare(torch.autograd.Function):
    """() mean of ``(reconstruction + bias - target)^2`` for matrices (n, d) on the CPU and bias (d,).

    Differentiable once.
    """

    @staticmethod
    def forward(ctx: Any, reconstruction: Tensor, bias: Tensor, target: Tensor) -> Tensor:
        difference, totals = torch.empty_like(reconstruction), reconstruction.new_empty(len(reconstruction))
        dense_kernels.differences(
            reconstruction.detach().contiguous().numpy(),
            bias.detach().contiguous().numpy(),
            target.detach().contiguous().numpy(),
            difference.numpy(),
            totals.numpy(),
        )
        ctx.save_for_backward(difference)
        return totals.sum() / reconstruction.numel()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (difference,) = ctx.saved_tensors
        of_reconstruction = torch.empty_like(difference)
        totals = np.zeros((kernels.RANGES, difference.shape[1]), dtype=difference.numpy().dtype)
        factor = 2 * float(gradients[0]) / difference.numel()
        dense_kernels.scaled(difference.numpy(), factor, of_reconstruction.numpy(), totals)
        of_target = -of_reconstruction if ctx.needs_input_grad[2] else None
        return of_reconstruction, torch.from_numpy(totals).sum(0), of_target
