"""Removal of the part of a gradient that would only change the length of atoms."""

from __future__ import annotations

import torch
from torch import nn


def remove_parallel_gradient(directions: nn.Parameter) -> None:
    """Remove from the gradient of each atom its component along the atom (Bricken et al. 2023).

    Atoms are normalised after each step, which undoes a change of their length. Adam's averages and the norm by which
    gradients are clipped would contain it.
    """
    if directions.grad is None:
        return
    with torch.no_grad():
        along = (directions.grad * directions).sum(1, keepdim=True)
        # Atoms have a length of 1 up to rounding; one of length 0 has no direction.
        along = along / directions.square().sum(1, keepdim=True).clamp_min(1e-30)
        directions.grad.sub_(along * directions)
