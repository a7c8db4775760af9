"""Codes and reconstructions of half-precision tensors, computed in float32.

The mean of a layer's output can be many times its spread. An encoder subtracts it, often folded into its bias: the
difference is then small and its terms are large, and in half precision their rounding errors are as large as the
difference. The same holds for the sum that a decoder adds its mean to. Rounding once, at the end, avoids both. The
fitted tensors are in float32, so that this also saves a copy of them in half precision at every call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

F = TypeVar("F", bound=Callable[..., Tensor])

HALF = (torch.float16, torch.bfloat16)


def in_float32(compute: F) -> F:
    """Compute a method's encode or decode in float32 if its first tensor is in half precision, and round the result.

    Tensors of other types are passed on as they are.
    """

    @functools.wraps(compute)
    def computed(self: Any, rows: Tensor, *others: Any, **named: Any) -> Tensor:
        if rows.dtype not in HALF:
            return compute(self, rows, *others, **named)
        with torch.autocast(rows.device.type, enabled=False):
            others = tuple(_wide(value) for value in others)
            named = {name: _wide(value) for name, value in named.items()}
            return compute(self, rows.float(), *others, **named).to(rows.dtype)

    return computed  # type: ignore[return-value]


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in HALF else value
