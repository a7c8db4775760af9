"""Preprocessing of torch.hub models: what timm or torchvision record about the weights, else ImageNet's at 224 px."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from harness.backbones.preprocessing import IMAGENET_224, Preprocessing
from harness.backbones.preprocessing_check import require_same_input
from harness.backbones.sources.base import Request
from harness.backbones.sources.timm_inputs import TOLERANCE, as_preprocessing, data_config


class HubInput(NamedTuple):
    """Preprocessing of a hub model, and sentences for the user on what was assumed."""

    preprocessing: Preprocessing
    notes: tuple[str, ...] = ()


def hub_input(model: nn.Module, repository: str, entry: str, request: Request) -> HubInput:
    """Return the preprocessing of the model of a hub entry.

    A model that timm built carries timm's record. An entry of ``pytorch/vision`` has torchvision's record of the
    weights that ``pretrained=True`` loads. Other repositories declare nothing that is reliable: DeiT's models, for
    example, carry a ``default_cfg`` with another mean than DeiT's own evaluation.

    Raises:
        UserError: if the recorded preprocessing is not supported.
    """
    record = getattr(model, "pretrained_cfg", None)
    # timm's factory fills in the architecture; a record without it was written by hand.
    if request.checkpoint is None and isinstance(record, Mapping) and record.get("architecture"):
        name = str(record["architecture"])
        return HubInput(as_preprocessing(data_config(record, name), request.spec))
    if request.checkpoint is None and (preset := _torchvision_preset(repository, entry)) is not None:
        preprocessing = Preprocessing(
            size=preset.crop_size[0],
            resize=preset.resize_size[0],
            interpolation=preset.interpolation.value,
            mean=tuple(preset.mean),
            std=tuple(preset.std),
        )
        require_same_input(preprocessing, preset, spec=request.spec, tolerance=TOLERANCE)
        return HubInput(preprocessing)
    weights = "The hub entry" if request.checkpoint is None else repr(request.checkpoint.name)
    note = f"{weights} does not state its preprocessing: DINOv2's is assumed."
    return HubInput(IMAGENET_224, (note,) if request.weights else ())


def _torchvision_preset(repository: str, entry: str) -> Any | None:
    """Return torchvision's transform of an entry of ``pytorch/vision`` or a clone of it, else None."""
    clone = (Path(repository).expanduser() / "torchvision" / "models").is_dir()
    if not clone and repository.partition(":")[0] != "pytorch/vision":
        return None
    from torchvision.models import get_model_weights

    try:
        # The weights that pretrained=True stands for.
        weights: Any = get_model_weights(entry)["IMAGENET1K_V1"]
    except (KeyError, ValueError):
        return None
    return weights.transforms()
