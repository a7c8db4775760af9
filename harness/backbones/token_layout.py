"""Layout of a model's tokens: how many of them have no image position, and which square grids the others can form."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

__all__ = ["closed_under_halving", "cls_tokens", "prefix_tokens", "square_maps", "unrolled_grid"]

# Parameters that hold tokens prepended to the patches, by the last part of their name without a number: CrossViT's
# `cls_token_0` and CoaT's `cls_token1` are the same token of several branches or stages.
_CLS = ("cls_token", "class_token", "class_embedding", "cls_register_token")
_OTHERS = ("dist_token", "distillation_token", "reg_token", "register_token", "register_tokens")
# Modules after the blocks: a token in one of them is a query of the pooling, not part of the sequence.
_POOLING = {"attn_pool", "head", "pooler"}


def prefix_tokens(model: nn.Module) -> int:
    """Return the number of tokens that the model prepends to the patches (CLS, distillation, registers).

    timm states it as ``num_prefix_tokens`` in most architectures. Elsewhere it follows from the learned tokens among
    the parameters. Single layers may have fewer: CaiT prepends CLS in its last two blocks only.
    """
    stated = getattr(model, "num_prefix_tokens", None)
    if isinstance(stated, int):
        return stated
    return cls_tokens(model) + sum(_counts(model, _OTHERS))


def cls_tokens(model: nn.Module) -> int:
    """Return the number of CLS tokens among the parameters of a model."""
    return sum(_counts(model, _CLS))


def _counts(model: nn.Module, names: tuple[str, ...]) -> list[int]:
    """Return the number of tokens in each parameter with one of ``names``, once per name."""
    counts: dict[str, int] = {}
    for path, parameter in model.named_parameters():
        *modules, last = path.split(".")
        name = re.sub(r"_?\d+$", "", last)
        if name in names and not _POOLING & set(modules):
            rows = parameter.shape[-2] if parameter.ndim > 1 else 1  # (1, n, d), (n, d) or (d,)
            counts[name] = max(counts.get(name, 0), int(rows))
    return list(counts.values())


@contextmanager
def square_maps(model: nn.Module, n_images: int) -> Iterator[set[int]]:
    """Collect the sides of the square feature maps of spatial convolutions in passes over ``n_images`` images.

    1x1 convolutions are left out: some attention layers apply them to maps of T x T pairs of tokens. So are
    convolutions over parts of images (TNT).
    """
    sides: set[int] = set()

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if output.ndim == 4 and len(output) == n_images and output.shape[2] == output.shape[3]:
            sides.add(int(output.shape[2]))

    def spatial(module: nn.Module) -> bool:
        return isinstance(module, nn.Conv2d) and (module.kernel_size, module.stride) != ((1, 1), (1, 1))

    handles = [module.register_forward_hook(record) for module in model.modules() if spatial(module)]
    try:
        yield sides
    finally:
        for handle in handles:
            handle.remove()


def closed_under_halving(sides: set[int]) -> frozenset[int]:
    """Return the sides with all that follow by halving, rounded up or down.

    Hierarchical models merge 2 x 2 patches with linear layers or pooling, which :func:`square_maps` does not see.
    """
    closed: set[int] = set()
    pending = set(sides)
    while pending:
        side = pending.pop()
        closed.add(side)
        pending |= {side // 2, -(-side // 2)} - closed - {0}
    return frozenset(closed)


def unrolled_grid(model: nn.Module) -> int | None:
    """Return the side of the only grid in row order of a Hiera model, or None for every other model.

    Hiera sorts the patches by mask unit ("unroll"). Its tokens are in row order only after the last pooling.
    """
    for module in model.modules():
        schedule = getattr(module, "unroll_schedule", None) or getattr(
            getattr(module, "unroll", None), "schedule", None
        )
        shape = getattr(module, "tokens_spatial_shape", None)
        if schedule is None:
            continue
        if shape is None:
            config: Any = module.config
            shape = [side // stride for side, stride in zip(config.image_size, config.patch_stride, strict=True)]
        return int(shape[-1]) // math.prod(int(strides[-1]) for strides in schedule)
    return None
