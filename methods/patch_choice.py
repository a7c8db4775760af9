"""Choice of the tokens of an image at which a unit is edited: those where it is most active."""

from __future__ import annotations

import torch
from torch import Tensor

from methods.errors import UserError


def strongest(activations: Tensor, patches: int | None, eligible: Tensor | None = None) -> Tensor:
    """Return the mask (..., T, m) of the tokens at which each of m units is most active in each image.

    Args:
        activations: (..., T, m) of the units at the T tokens of each image; signed, so that the largest are chosen and
            not those of the largest magnitude. Of equal activations, that of the lower token comes first.
        patches: number of tokens per unit and image; None, or at least the number of eligible ones: all of them.
        eligible: (T,) bool, True for the tokens that may be chosen; default: all.

    Raises:
        UserError: if ``patches`` is negative.
    """
    if patches is not None and patches < 0:
        raise UserError(f"patches = {patches}: give a number of patches per image from 0, or None for all of them.")
    n_tokens = activations.shape[-2]
    tokens = torch.arange(n_tokens, device=activations.device)
    if eligible is not None:
        tokens = tokens[eligible.to(tokens.device)]
    mask = torch.zeros(activations.shape, dtype=torch.bool, device=activations.device)
    if patches is None or patches >= len(tokens):
        mask[..., tokens, :] = True
        return mask
    order = activations[..., tokens, :].argsort(dim=-2, descending=True, stable=True)[..., :patches, :]
    return mask.scatter_(-2, tokens[order], True)
