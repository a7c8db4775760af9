"""``visaebench``: a folder of VISAEBench, weights and a configuration in JSON or YAML.

Equations and names are those of ``visaebench/hub`` of version 0.1.0 (2026), https://github.com/vraj130/visaebench.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from methods.errors import UserError, first_line
from methods.pretrained.source import Source, load_pickled, tensors_in
from methods.pretrained.weight_formats import FORMATS
from methods.pretrained.weight_formats.base import Trained, WeightsFormat, normal_form

_WEIGHTS = ("sae.pt", "model.safetensors", "model.pt")
_JSON, _YAML = "config.json", ("config.yaml", "config.yml")
_MOST_YAML = 1 << 16
_ACTIVATIONS = ("topk", "batchtopk", "jumprelu")
#: Names of the weights and bias of the encoder, and of the decoder's weights: of VISAEBench, and of overcomplete.
_LAYOUTS = (
    ("encoder.weight", "encoder.bias", "decoder.weight"),
    ("encoder.final_block.0.weight", "encoder.final_block.0.bias", "dictionary._weights"),
)
#: Further tensors of each layout, and of each activation.
_OF_LAYOUT = {_LAYOUTS[0]: ("decoder.bias",), _LAYOUTS[1]: ("dictionary.multiplier",)}
_OF_ACTIVATION = {"jumprelu": ("jump_thresholds", "thresholds"), "batchtopk": ("_running_threshold",)}
#: Mean and standard deviation of the activations, as its cache and its training store them.
_STATISTICS = ("norm_stats.pt", "stats.json")
_JUMP_DEFAULT = 0.01
_LAYER = re.compile(r"layer_(\d{1,4})")


@FORMATS.register()
class VISAEBench(WeightsFormat):
    """TopK, BatchTopK (by its threshold) and JumpReLU autoencoders, with the tensors of VISAEBench or of overcomplete.

    ``decoder.weight`` is (n_units, d), and atoms of overcomplete are taken as they are saved, as VISAEBench does. It
    centres and scales activations before the autoencoder: so does the reader, if the folder has ``norm_stats.pt`` or
    ``stats.json``.
    """

    name = "visaebench"
    description = "folder of VISAEBench: sae.pt or model.safetensors, and config.json or config.yaml"
    proof = "codes of visaebench 0.1.0 for folders of its documented layout (it writes none itself)"
    refines = frozenset({"overcomplete"})

    @classmethod
    def files_of(cls, names: Sequence[str]) -> Sequence[str]:
        weights = [name for name in _WEIGHTS if name in names][:1]
        configs = [name for name in (_JSON, *_YAML) if name in names][:1]
        return [*weights, *configs, *(name for name in _STATISTICS if name in names)] if weights and configs else ()

    def recognises(self, source: Source) -> bool:
        file = _weights(source)
        if file is None:
            return False
        config = _config(source)
        is_named = any(key in config for key in ("activation", "sae_type", "architecture"))
        return is_named and _activation(config) in _ACTIVATIONS and _layout(_state(file)) is not None

    def read(self, source: Source) -> Trained:
        file = _weights(source)
        if file is None:
            raise UserError(f"a dictionary of VISAEBench is a folder with one of {', '.join(_WEIGHTS)}")
        config, tensors = _config(source), _state(file)
        layout = _layout(tensors)
        if layout is None:
            raise UserError(f"{file.name} has neither the tensors {', '.join(_LAYOUTS[0])} nor those of overcomplete")
        kind = _activation(config)
        allowed = {*layout, *_OF_LAYOUT[layout], *_OF_ACTIVATION.get(kind, ())}
        if unknown := sorted(str(name) for name in tensors if name not in allowed):
            raise UserError(f"it has a tensor {unknown[0][:80]!r}, and a {kind[:40]} has none of this name")
        encoder, bias, decoder = (tensors[name].float() for name in layout)
        decoder_bias = None
        if layout == _LAYOUTS[0]:
            decoder_bias = tensors.get("decoder.bias")
        elif "dictionary.multiplier" in tensors:
            decoder = decoder * tensors["dictionary.multiplier"].float().exp()
        settings, extra = _settings(config, tensors, len(encoder))
        mean, std, notes = _statistics(source, width=decoder.shape[-1])
        shift = mean / std
        if decoder_bias is not None and decoder_bias.shape != shift.shape:
            raise UserError(f"its decoder.bias has the shape {tuple(decoder_bias.shape)}, not {tuple(shift.shape)}")
        dictionary = normal_form(
            encoder=encoder,
            encoder_bias=bias,
            decoder=decoder,
            output_bias=shift if decoder_bias is None else decoder_bias.float() + shift,
            input_bias=shift,
            input_scale=1 / std,
            config=settings,
            activation=extra,
        )
        backbone = config.get("backbone")
        return Trained(dictionary, _site(config), backbone if isinstance(backbone, str) else None, notes)


def _weights(source: Source) -> Path | None:
    """Return the first file of weights that there is, as VISAEBench chooses it."""
    if not source.is_folder:
        return None
    return next((file for file in map(source.file, _WEIGHTS) if file is not None), None)


def _config(source: Source) -> Mapping[str, Any]:
    if source.file(_JSON) is not None:
        return source.json(_JSON)
    file = next((file for file in map(source.file, _YAML) if file is not None), None)
    if file is None:
        return {}
    import yaml

    try:
        if file.stat().st_size > _MOST_YAML:
            raise ValueError(f"it has more than {_MOST_YAML} bytes")
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"its {file.name} cannot be read ({first_line(error)})") from error
    if not isinstance(content, dict):
        raise UserError(f"its {file.name} cannot be read (it is no mapping)")
    return content


def _state(file: Path) -> Mapping[str, Tensor]:
    content = tensors_in(file) if file.suffix == ".safetensors" else load_pickled(file)
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{file.name} holds no state_dict")
    return content


def _layout(tensors: Mapping[str, Tensor]) -> tuple[str, str, str] | None:
    return next((names for names in _LAYOUTS if all(name in tensors for name in names)), None)


def _activation(config: Mapping[str, Any]) -> str:
    for key in ("activation", "sae_type", "architecture"):
        if key in config:
            # Text of other values may be endless: YAML can name a value in itself, over and over.
            return config[key].lower() if isinstance(config[key], str) else ""
    return "topk"


def _settings(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], n_units: int
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the settings of the activation, and its tensors."""
    kind = _activation(config)
    if kind == "topk":
        k = config.get("k")
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise UserError(f"its k is {str(k)[:40]!r}, and must be a positive whole number")
        return {"activation": "topk", "k": k}, {}
    if kind == "jumprelu":
        saved = tensors.get("jump_thresholds", tensors.get("thresholds"))
        threshold = torch.full((n_units,), _JUMP_DEFAULT) if saved is None else saved.float()
        return {"activation": "jumprelu"}, {"threshold": threshold}
    if kind == "batchtopk":
        value = config.get("threshold")
        if value is None and "_running_threshold" in tensors:
            value = tensors["_running_threshold"]
        # Codes equal to the threshold are kept, and a unit of a JumpReLU must exceed its own.
        limit = torch.tensor(_number(0.0 if value is None else value, "threshold"))
        return {"activation": "jumprelu"}, {"threshold": limit.nextafter(limit.new_tensor(-math.inf)).expand(n_units)}
    raise UserError(f"its activation {kind[:40]!r} is none of {', '.join(_ACTIVATIONS)}")


def _statistics(source: Source, width: int) -> tuple[Tensor, float, tuple[str, ...]]:
    """Return the mean and standard deviation of the activations, and a note if there are none."""
    name = next((name for name in _STATISTICS if source.file(name) is not None), None)
    if name is None:
        note = (
            "VISAEBench centres and scales activations before the autoencoder, and the folder has no statistics for "
            f"it, so they were taken as they are. Add {' or '.join(_STATISTICS)} (mean and std of the activations)."
        )
        return torch.zeros(width), 1.0, (note,)
    file = source.file(name)
    content = source.json(name) if file is None or file.suffix == ".json" else load_pickled(file)
    mean = content.get("mean") if isinstance(content, Mapping) else None
    try:
        mean = torch.as_tensor(mean, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"its {name} holds no mean ({first_line(error)})") from error
    if tuple(mean.shape) != (width,):
        raise UserError(f"the mean in its {name} has the shape {tuple(mean.shape)}, and it must be ({width},)")
    std = _number(content.get("std"), f"std in its {name}")
    if std <= 0:
        raise UserError(f"the std in its {name} is {std}, and must be a positive number")
    return mean, std, ()


def _number(value: object, name: str) -> float:
    if isinstance(value, Tensor):
        value = value.item() if value.numel() == 1 else f"a tensor {tuple(value.shape)}"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"the {name} is {str(value)[:40]!r}, and must be a number")
    return float(value)


def _site(config: Mapping[str, Any]) -> str | None:
    """Return the block whose output was recorded, which the path of the activations names."""
    layer = config.get("layer")
    if isinstance(layer, int) and not isinstance(layer, bool) and layer >= 0:
        return f"blocks.{layer}"
    match = _LAYER.search(folder) if isinstance(folder := config.get("activation_dir"), str) else None
    return None if match is None else f"blocks.{int(match[1])}"
