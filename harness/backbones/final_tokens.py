"""Tokens of vision transformers after the final norm, for heads that read more than the pooled features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from harness.backbones.base import Features

#: Types of transformers' models whose last hidden state is their tokens after the final norm, CLS first.
_NORMALISED_STATES = ("dinov2", "dinov2_with_registers")


def timm_final_tokens(model: Any) -> Features | None:
    """Return the function of a timm model that has prefix tokens and a final norm over all tokens, else None.

    Models that pool before they normalise (``fc_norm``) have no normalised tokens.
    """
    norm = getattr(model, "norm", None)
    normalises = isinstance(norm, nn.Module) and not isinstance(norm, nn.Identity)
    return _timm if normalises and int(getattr(model, "num_prefix_tokens", 0)) > 0 else None


def transformers_final_tokens(model: Any) -> Features | None:
    """Return the function of a DINOv2 of transformers; None for other models."""
    return _transformers if model.config.model_type in _NORMALISED_STATES else None


def hub_final_tokens(model: nn.Module) -> Features | None:
    """Return the function of a model of DINOv2's repository; None for other models."""
    return _hub if type(model).__name__ == "DinoVisionTransformer" else None


def _timm(model: Any, images: Tensor) -> Tensor:
    tokens: Tensor = model.forward_features(images)
    return tokens


def _transformers(model: nn.Module, images: Tensor) -> Tensor:
    tokens: Tensor = model(pixel_values=images).last_hidden_state
    return tokens


def _hub(model: Any, images: Tensor) -> Tensor:
    parts = model.forward_features(images)
    cls, registers, patches = (parts[f"x_norm_{part}"] for part in ("clstoken", "regtokens", "patchtokens"))
    return torch.cat([cls[:, None], registers, patches], dim=1)
