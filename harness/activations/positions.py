"""Positions of a layer's tokens on the image, from the shape of its output."""

from __future__ import annotations

import math
from collections.abc import Set

import torch
from torch import Tensor

from harness.errors import UserError


def token_positions(shape: tuple[int, ...], *, n_prefix_tokens: int, grid_sides: Set[int] | None, layer: str) -> Tensor:
    """Return the position of each token, (T,) int32: row by row 0, 1, ...; CLS is -1; registers are -2 and below.

    A sequence of T tokens is a square grid after the prefix tokens, a square grid without them (CaiT and XCiT join CLS
    in their last blocks, a hierarchical model in its last stage), or prefix tokens only (a class-attention block).

    Args:
        shape: shape of the layer's output without batch and features: (T,), (h, w), or () for one vector per image.
        n_prefix_tokens: number of tokens that the model prepends to its patches.
        grid_sides: possible sides of a token grid in this model; None if unknown, which admits every square.
        layer: path of the layer, for the message.

    Raises:
        UserError: if the tokens have no position that follows from their number.
    """
    n_tokens = math.prod(shape)
    if len(shape) != 1 and n_tokens == 1:
        return torch.zeros(1, dtype=torch.int32)
    if len(shape) == 1 or (len(shape) == 2 and shape[0] == 1):
        return _sequence(n_tokens, n_prefix_tokens, grid_sides, layer)
    if len(shape) == 2 and shape[0] == shape[1] and is_grid(n_tokens, grid_sides):
        return torch.arange(n_tokens, dtype=torch.int32)
    raise UserError(
        f"The layer {layer!r} returns {' x '.join(map(str, shape))} tokens per image, which is no feature map of this "
        "model (tokens grouped in windows or blocks are not in row order, and attention maps hold pairs of tokens), "
        "so its tokens have no known image position: choose another layer, for example the output of a block's MLP."
    )


def _sequence(n_tokens: int, n_prefix_tokens: int, grid_sides: Set[int] | None, layer: str) -> Tensor:
    if n_tokens <= n_prefix_tokens:
        prefix = n_tokens
    elif is_grid(n_tokens - n_prefix_tokens, grid_sides):
        prefix = n_prefix_tokens
    elif is_grid(n_tokens, grid_sides):
        prefix = 0
    else:
        raise UserError(_no_grid(n_tokens, n_prefix_tokens, grid_sides, layer))
    special = -1 - torch.arange(prefix, dtype=torch.int32)
    return torch.cat([special, torch.arange(n_tokens - prefix, dtype=torch.int32)])


def is_grid(n_tokens: int, grid_sides: Set[int] | None) -> bool:
    """Return True if tokens can form a square grid of the model."""
    side = math.isqrt(n_tokens)
    return side * side == n_tokens and (grid_sides is None or side in grid_sides)


def _no_grid(n_tokens: int, n_prefix_tokens: int, grid_sides: Set[int] | None, layer: str) -> str:
    grids = sorted(side for side in grid_sides or () if side > 1)
    which = f" of this model ({', '.join(f'{side}x{side}' for side in grids)})" if grids else ""
    likely = [count for count in range(9) if count < n_tokens and is_grid(n_tokens - count, grid_sides)]
    hint = (
        f" In a plugin, n_prefix_tokens = {' or '.join(map(str, likely))} would leave one. Count CLS and registers."
        if likely
        else ""
    )
    remain = f" and n_prefix_tokens is {n_prefix_tokens}, so {n_tokens - n_prefix_tokens} tokens remain"
    return (
        f"The layer {layer!r} has {n_tokens} tokens per image{remain if n_prefix_tokens else ''}, not a square grid"
        f"{which}, so its tokens have no known image position. Choose another layer or model.{hint}"
    )
