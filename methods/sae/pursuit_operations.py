"""Steps of matching pursuit and their gradient in PyTorch's operations, for every device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def choose(correlations: Tensor, k: int, update: Callable[[Tensor, Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Choose the unit of the largest correlation k times; return units (n, k) int64 and their correlations (n, k).

    ``update`` returns the next correlations (n, n_units) from the current ones, the largest (n,) and their units (n,).
    """
    units: list[Tensor] = []
    values: list[Tensor] = []
    for i in range(k):
        if i:
            correlations = update(correlations, values[-1], units[-1])
        value, unit = correlations.max(1)
        units.append(unit)
        values.append(value)
    return torch.stack(units, 1), torch.stack(values, 1)


def choose_by_gram(correlations: Tensor, gram: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Choose k times with ``correlations -= value * gram[unit]`` after each choice; correlations are overwritten."""

    def update(current: Tensor, value: Tensor, unit: Tensor) -> Tensor:
        # In place, and in one pass: the matrices (n, n_units) are what the time of a GPU goes into.
        return current.addcmul_(value[:, None], gram.index_select(0, unit), value=-1)

    return choose(correlations, k, update)


def add_gradient(
    totals: Tensor, units: Tensor, values: Tensor, residual: Tensor, gradient: Tensor, atoms: Tensor
) -> None:
    """Add the gradient of the atoms through the k steps of each row to totals (n_units, d).

    Args:
        totals: changed in place.
        units: (n, k) int64 chosen units.
        values: (n, k) their correlations.
        residual: (n, d) residual after the last step.
        gradient: (n, d) gradient of the loss there.
        atoms: (n_units, d).
    """
    residual, slope = residual.clone(), gradient.clone(memory_format=torch.contiguous_format)
    for unit, step in zip(reversed(units.unbind(1)), reversed(values.split(1, 1)), strict=True):
        atom = atoms.index_select(0, unit)
        along = (slope * atom).sum(1, keepdim=True)
        residual.addcmul_(step, atom)
        totals.index_add_(0, unit, (step * slope).addcmul_(along, residual), alpha=-1)
        slope.addcmul_(along, atom, value=-1)
