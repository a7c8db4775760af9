"""Original DINOv2 weights (facebookresearch/dinov2) in timm's architecture, with the original's arithmetic.

The original code resizes the position embedding from 37 x 37 to 16 x 16 without antialiasing and with an offset of 0.1
in the scale; timm antialiases. The weights and the rest of the computation are the same, so this is meant to give what
``torch.hub.load("facebookresearch/dinov2", ...)`` gives, without running code from a hub.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from harness.backbones.base import Backbone, last_fc2
from harness.backbones.final_tokens import timm_final_tokens
from harness.backbones.preprocessing import IMAGENET_224
from harness.backbones.sources.base import Request, download_error
from harness.backbones.sources.checkpoint import fill, read_state_dict
from harness.backbones.sources.timm import pooled, random_model
from harness.backbones.sources.wrapper_prefixes import unwrap

URL = "https://dl.fbaipublicfiles.com/dinov2/{name}/{name}_pretrain.pth"
ARCHITECTURES = {
    "dinov2_vits14": ("vit_small_patch14_dinov2", "DINOv2 ViT-S/14"),
    "dinov2_vitb14": ("vit_base_patch14_dinov2", "DINOv2 ViT-B/14"),
    "dinov2_vitl14": ("vit_large_patch14_dinov2", "DINOv2 ViT-L/14"),
}
# `interpolate_offset` of the hub's models without registers.
OFFSET = 0.1


def load(request: Request) -> Backbone:
    """Load one of :data:`ARCHITECTURES` at 224 px, from a download or a local ``dinov2_vit*14_pretrain.pth``.

    Raises:
        UserError: if the weights cannot be downloaded, or a checkpoint does not fit.
    """
    architecture, title = ARCHITECTURES[request.identifier]
    model = random_model(architecture, img_size=224, num_classes=0)
    notes: tuple[str, ...] = ()
    if request.weights:
        if request.checkpoint is not None:
            state, file = read_state_dict(request.checkpoint), request.checkpoint.name
        else:
            state, file = _download(request), f"{request.identifier}_pretrain.pth"
        state, notes = unwrap(
            state,
            model.state_dict(),
            file=file,
            architecture=architecture,
            convert=partial(as_timm, grid=IMAGENET_224.size // 14),
        )
        fill(model, state, checkpoint=file, architecture=architecture)
    return Backbone(
        name=request.spec,
        title=title,
        model=model.to(request.device),
        preprocessing=IMAGENET_224,
        n_prefix_tokens=1,
        default_site=last_fc2(model),
        source="facebookresearch/dinov2" if request.weights else "random weights",
        license="Apache-2.0" if request.weights else "none needed",
        pretrained=request.weights,
        pool=pooled,
        notes=notes,
        final_tokens=timm_final_tokens(model),
    )


def _download(request: Request) -> dict[str, Tensor]:
    url = URL.format(name=request.identifier)
    try:
        return torch.hub.load_state_dict_from_url(url, map_location="cpu", progress=False, weights_only=True)
    except Exception as error:  # urllib, socket and http.client each have their own
        raise download_error(request.spec, error) from error


def as_timm(state: dict[str, Tensor], *, grid: int) -> dict[str, Tensor]:
    """Convert the original's state dict to timm's.

    The training-only mask token is dropped, and the position embedding is resized to ``grid`` x ``grid``.
    """
    state = {name: tensor for name, tensor in state.items() if name != "mask_token"}
    if "pos_embed" in state and state["pos_embed"].ndim == 3:
        state["pos_embed"] = resize_position_embedding(state["pos_embed"], grid)
    return state


def resize_position_embedding(embedding: Tensor, grid: int) -> Tensor:
    """Resize (1, 1 + m**2, d) to (1, 1 + grid**2, d) as ``DinoVisionTransformer.interpolate_pos_encoding`` does.

    The interpolation is bicubic with ``scale_factor = (grid + 0.1) / m``: the sampling positions follow that factor,
    not ``grid / m``.
    """
    side = round((embedding.shape[1] - 1) ** 0.5)
    if side == grid or side * side != embedding.shape[1] - 1:
        return embedding
    factor = (grid + OFFSET) / side
    return torch.cat([embedding[:, :1], resize_grid(embedding[:, 1:], scale_factor=(factor, factor))], dim=1)


def resize_grid(patches: Tensor, **options: Any) -> Tensor:
    """Resize a square grid of patch embeddings (1, m**2, d) by ``size`` or ``scale_factor``, without antialiasing."""
    side = round(patches.shape[1] ** 0.5)
    image = patches.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    resized = functional.interpolate(image, mode="bicubic", antialias=False, **options)
    return resized.flatten(2).transpose(1, 2).to(patches.dtype)
