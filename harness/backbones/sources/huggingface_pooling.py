"""Features of transformers' vision models: their own pooled output, their CLS token, or the mean of their patches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from harness.backbones.base import Features
from harness.backbones.token_layout import closed_under_halving, cls_tokens, prefix_tokens, square_maps
from methods.errors import UserError, first_line

# Model types whose `pooler_output` was read by earlier versions from token sequences as well.
_POOLED_BEFORE = {"siglip_vision_model", "clip_vision_model"}


class Reading(NamedTuple):
    """Functions and numbers by which features and tokens are read from one model."""

    pool: Features
    """``(model, images (B, 3, S, S)) -> (B, d)``"""
    n_prefix_tokens: int
    """tokens that the model prepends to its patches"""
    identity: dict[str, Any]
    """entries of the backbone's identity: what earlier versions read differently"""


def forward(model: nn.Module, images: Tensor) -> Any:
    """Return the model's output for ``images``, with all patches in row order.

    ViTMAE shuffles the patches by random noise, with its mask ratio set to 0 as well: increasing noise keeps the order.
    """
    if model.config.model_type != "vit_mae":  # type: ignore[union-attr]
        return model(pixel_values=images)
    n_patches = model.embeddings.patch_embeddings.num_patches  # type: ignore[union-attr]
    noise = torch.arange(int(n_patches), dtype=images.dtype, device=images.device)  # type: ignore[arg-type]
    return model(pixel_values=images, noise=noise.expand(len(images), -1))


def pooler_output(model: nn.Module, images: Tensor) -> Tensor:
    """Return the model's own pooled output (B, d); a pooled feature map (B, d, 1, 1) is flattened."""
    features: Tensor = forward(model, images).pooler_output.flatten(1)
    return features


def cls_token(model: nn.Module, images: Tensor) -> Tensor:
    """Return the CLS token after the final norm (B, d)."""
    features: Tensor = forward(model, images).last_hidden_state[:, 0]
    return features


def mean_of_patches(model: nn.Module, images: Tensor) -> Tensor:
    """Return the mean of the last layer's tokens, or of its feature map (B, d), without prefix tokens."""
    hidden: Tensor = forward(model, images).last_hidden_state
    if hidden.ndim == 4:
        is_nchw = hidden.shape[2] == hidden.shape[3]
        return hidden.mean((2, 3) if is_nchw else (1, 2))
    return hidden[:, prefix_tokens(model) :].mean(1)


def reading_of(model: nn.Module, size: int, *, trained_pooler: bool, spec: str) -> Reading:
    """Run a model on one random image and choose how its features are read.

    1. The model's own pooled output, if it has one and its weights are trained.
    2. Otherwise the CLS token, if the model has one.
    3. Otherwise the mean of the patches.

    Args:
        size: side of the model's input, in pixels.
        trained_pooler: False if the weights of the model's ``pooler`` were drawn at random.

    Raises:
        UserError: if the model maps no image to hidden states, or none of the three applies.
    """
    model.eval()
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), square_maps(model, 1) as sides:
        try:
            output = forward(model, image)
            hidden: Tensor = output.last_hidden_state
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
            raise UserError(
                f"{spec!r} is no model that maps images of {size} px to hidden states ({first_line(error)})."
            ) from error
    pooled = getattr(output, "pooler_output", None)
    grids = closed_under_halving(sides)
    pool: Features
    if isinstance(pooled, Tensor) and pooled.ndim in (2, 4) and (trained_pooler or not _has_weights(model)):
        pool, features = pooler_output, pooled.flatten(1)
    elif cls_tokens(model):
        _require_cls(model, hidden, grids, spec)
        pool, features = cls_token, hidden[:, 0]
    else:
        _require_patches(model, hidden, grids, spec)
        pool = mean_of_patches
        with torch.inference_mode():
            features = pool(model, image)
    n_prefix_tokens = prefix_tokens(model)
    return Reading(pool, n_prefix_tokens, _identity(model, size, pool, features, hidden, pooled, n_prefix_tokens))


def _has_weights(model: nn.Module) -> bool:
    """Return True if the model's ``pooler`` has parameters."""
    pooler = getattr(model, "pooler", None)
    return isinstance(pooler, nn.Module) and any(True for _ in pooler.parameters())


def _require_cls(model: nn.Module, hidden: Tensor, grids: frozenset[int], spec: str) -> None:
    """Raise UserError unless the first token of ``hidden`` (B, T, d) is the model's only CLS token."""
    count = cls_tokens(model)
    if count > 1:
        raise UserError(
            f"{spec!r} has {count} CLS tokens and no pooled output of its own, so its features are not defined. Use a "
            "model with one CLS token or a pooler."
        )
    if hidden.ndim != 3 or (hidden.shape[1] > 1 and _side(hidden.shape[1]) in grids):
        raise UserError(
            f"{spec!r} has a CLS token that its last hidden state {tuple(hidden.shape)} does not contain, and no "
            "pooled output of its own, so its features are not defined. Use the model through timm, if timm has it."
        )


def _require_patches(model: nn.Module, hidden: Tensor, grids: frozenset[int], spec: str) -> None:
    """Raise UserError unless ``hidden`` is a square feature map, or a square grid of tokens after the prefix tokens."""
    if hidden.ndim == 4 and (hidden.shape[2] == hidden.shape[3] or hidden.shape[1] == hidden.shape[2]):
        return
    side = _side(hidden.shape[1] - prefix_tokens(model)) if hidden.ndim == 3 else None
    if side is None or (grids and side not in grids):
        raise UserError(
            f"{spec!r} has neither a trained pooled output nor a CLS token, and its last hidden state "
            f"{tuple(hidden.shape)} is no square grid of patches, so its features are not defined."
        )


def _side(n_tokens: int) -> int | None:
    """Return the side of a square grid of ``n_tokens``, None if they form no square."""
    side = math.isqrt(max(n_tokens, 0))
    return side if side and side * side == n_tokens else None


def _identity(
    model: nn.Module,
    size: int,
    pool: Callable[..., Tensor],
    features: Tensor,
    hidden: Tensor,
    pooled: Tensor | None,
    n_prefix_tokens: int,
) -> dict[str, Any]:
    """Return the entries of the identity: nothing for a model that earlier versions read in the same way."""
    config: Any = model.config
    pooled_before = hidden.ndim == 4 or config.model_type in _POOLED_BEFORE
    before = pooled.flatten(1) if pooled_before and isinstance(pooled, Tensor) else hidden[:, 0]
    patch = getattr(config, "patch_size", None)
    counts = hidden.ndim == 3 and isinstance(patch, int)
    prefix_before = max(0, hidden.shape[1] - (size // patch) ** 2) if counts else 0  # type: ignore[operator]
    identity: dict[str, Any] = {}
    if config.model_type == "vit_mae":
        identity["masking"] = "off"
    if not torch.equal(before, features):
        identity["pooling"] = pool.__name__
    if prefix_before != n_prefix_tokens:
        identity["prefix_tokens"] = n_prefix_tokens
    return identity
