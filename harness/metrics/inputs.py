"""Checks of the tensors that the public functions of this package are given: one sentence for every invalid input."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harness.errors import ArgumentError
from methods.requirements import is_finite


def require_real(call: str, **tensors: Any) -> None:
    """Check that the arguments of a function are tensors of real numbers.

    Args:
        call: name of the function, for the message.
        tensors: name of the argument -> its value.

    Raises:
        ArgumentError: the message names the argument.
    """
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise ArgumentError(f"{call}: {name} is a {type(value).__name__}; give a torch.Tensor (torch.as_tensor).")
        if value.is_complex():
            raise ArgumentError(f"{call}: {name} has the dtype {value.dtype}; it must hold real numbers.")


def require_finite(call: str, **tensors: Tensor) -> None:
    """Check that the arguments of a function contain neither NaN nor infinity; see :func:`require_real`.

    Raises:
        ArgumentError: the message names the argument and the first such position.
    """
    for name, value in tensors.items():
        if not is_finite(value):
            position = tuple((~torch.isfinite(value)).nonzero()[0].tolist())
            where = f"[{', '.join(map(str, position))}]" if position else ""
            raise ArgumentError(
                f"{call}: {name}{where} is {float(value[position])}; {name} must not contain NaN or infinity."
            )


def in_range(rows: Tensor) -> Tensor:
    """Return rows (..., n, d) in float64, each scaled by a power of two if its squares leave the range of float64.

    Directions of the rows do not change, and rows of ordinary length are returned unchanged. Without the
    scaling, the length of a row of 1e200 is infinite, and that of a row of 1e-200 is zero.
    """
    values = rows.detach().double()
    if not values.numel():
        return values
    largest = values.abs().amax(-1, keepdim=True)
    extreme = (largest > 1e100) | ((largest < 1e-100) & (largest > 0))
    if not bool(extreme.any()):
        return values
    exponent = torch.frexp(largest).exponent.clamp(-1000, 1000).double()
    return torch.where(extreme, values * torch.exp2(-exponent), values)
