"""``prisma``: a checkpoint of ViT-Prisma, a pickled file with its configuration, or a folder with ``config.json``.

Equations and names are those of ``vit_prisma/sae/sae.py``: S. Joseph et al., Prisma: An Open Source Toolkit for
Mechanistic Interpretability in Vision and Video (2025), https://github.com/Prisma-Multimodal/ViT-Prisma.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from methods.errors import UserError
from methods.pretrained.source import PICKLED, Source, load_pickled
from methods.pretrained.weight_formats import FORMATS
from methods.pretrained.weight_formats.base import Trained, WeightsFormat, normal_form
from methods.torch_files import Record

_CONFIG = "config.json"
#: Class of the configuration in a pickled file. Its attributes are read, and its code is not imported.
_CONFIG_CLASS = "VisionModelSAERunnerConfig"
_RECORDS = (f"vit_prisma.sae.config.{_CONFIG_CLASS}", "vit_prisma.configs.HookedViTConfig.HookedViTConfig")
#: Keys of a configuration that no other format has together.
_TELLING = frozenset({"hook_point_layer", "layer_subtype", "activation_fn_str", "d_in"})
#: Ending of the files of firing rates that are saved beside each checkpoint.
_RATES = "_log_feature_sparsity.pt"
_TENSORS, _GATED = {"W_enc", "b_enc", "W_dec", "b_dec"}, {"b_gate", "r_mag", "b_mag"}
_MOST_PICKLE = 16 << 20
#: Normalisation -> the token scale of :class:`TrainedDictionary`.
_TOKEN_SCALES = {"none": "none", "constant_norm_rescale": "rms", "layer_norm": "layer_norm"}
_LAYER_NORM_EPS = 1e-5


@FORMATS.register()
class Prisma(WeightsFormat):
    """Standard and gated autoencoders with ReLU, and standard ones with TopK.

    ``b_dec`` is subtracted from the input, after each token is normalised as ``normalize_activations`` says.
    """

    name = "prisma"
    description = "checkpoint of ViT-Prisma, or a folder with it and config.json"
    proof = "checkpoints that ViT-Prisma itself wrote (its repository of February and of May 2025)"
    settings = {
        "normalize_activations": "normalisation of each token if the configuration lacks it: none, layer_norm, "
        "constant_norm_rescale",
    }

    @classmethod
    def files_of(cls, names: Sequence[str]) -> Sequence[str]:
        weights = _weights_of(names)
        return (_CONFIG, *weights) if _CONFIG in names and len(weights) == 1 else ()

    def recognises(self, source: Source) -> bool:
        file = _weights(source)
        if file is None:
            return False
        return _has_config(file) or (source.is_folder and source.json(_CONFIG).keys() >= _TELLING)

    def read(self, source: Source) -> Trained:
        config, tensors = _content(source)
        if config.get("is_transcoder"):
            raise UserError("it is a transcoder, which reads one layer and writes another")
        if config.get("hook_point_head_index") is not None:
            raise UserError("it reads one head of an attention, which no site of the harness is")
        allowed = _TENSORS | (_GATED if config.get("architecture") == "gated" else set())
        if unknown := sorted(str(name) for name in tensors if name not in allowed):
            raise UserError(f"it has a tensor {unknown[0][:80]!r}, and its architecture has none of this name")
        settings, extra, encoder_bias = _activation(config, tensors)
        b_dec = _tensor(tensors, "b_dec")
        dictionary = normal_form(
            encoder=_tensor(tensors, "W_enc").T,
            encoder_bias=encoder_bias,
            decoder=_tensor(tensors, "W_dec"),
            output_bias=b_dec,
            input_bias=b_dec,
            config={**settings, **_token_scale(source, config)},
            activation=extra,
        )
        backbone = config.get("model_name")
        return Trained(dictionary, _site(config), backbone if isinstance(backbone, str) else None)


def _weights(source: Source) -> Path | None:
    """Return the only file of weights; None if there is none, or several."""
    if not source.is_folder:
        return source.path if source.path.suffix in PICKLED and source.path.is_file() else None
    names = _weights_of(source.files)
    return source.file(names[0]) if len(names) == 1 else None


def _weights_of(names: Sequence[str]) -> list[str]:
    return [name for name in names if name.endswith((*PICKLED, ".safetensors")) and not name.endswith(_RATES)]


def _has_config(file: Path) -> bool:
    """Return True if a pickled file names the configuration of ViT-Prisma. Nothing is unpickled."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        pickles = [entry for entry in archive.infolist() if entry.filename.endswith("/data.pkl")]
        if len(pickles) != 1 or pickles[0].file_size > _MOST_PICKLE:
            return False
        return _CONFIG_CLASS.encode() in archive.read(pickles[0])


def _content(source: Source) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the configuration and the tensors."""
    file = _weights(source)
    if file is None:
        raise UserError(
            "a dictionary of ViT-Prisma is one pickled file, or a folder with one file of weights and config.json"
        )
    config: Mapping[str, Any] = source.json(_CONFIG) if source.is_folder else {}
    content = source.state() if file.suffix == ".safetensors" else load_pickled(file, records=_RECORDS)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        saved = content.get("cfg")
        config = vars(saved) if isinstance(saved, Record) else config
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise UserError(f"{file.name} holds no state_dict")
    if "activation_fn_str" not in config:
        raise UserError(f"its configuration is missing: give a folder with {file.name} and its {_CONFIG}")
    return config, content


def _tensor(tensors: Mapping[str, Any], name: str) -> Tensor:
    tensor = tensors.get(name)
    if not isinstance(tensor, Tensor):
        raise UserError(f"its tensor {name} is missing")
    return tensor.float()


def _activation(
    config: Mapping[str, Any], tensors: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor], Tensor]:
    """Return the settings of the activation, its tensors, and the bias of the encoder."""
    architecture, name = config.get("architecture", "standard"), config["activation_fn_str"]
    if architecture == "gated" and name == "relu":
        values = {"value_scale": torch.exp(_tensor(tensors, "r_mag")), "value_bias": _tensor(tensors, "b_mag")}
        return {"activation": "gated"}, values, _tensor(tensors, "b_gate")
    if architecture != "standard" or name not in ("relu", "topk"):
        raise UserError(
            f"its architecture is {str(architecture)[:40]!r} and its activation {str(name)[:40]!r}, and standard with "
            "relu, standard with topk, and gated with relu are computed"
        )
    if name == "relu":
        return {"activation": "relu"}, {}, _tensor(tensors, "b_enc")
    settings = config.get("activation_fn_kwargs")
    settings = settings if isinstance(settings, dict) else {}
    if settings.get("postact_fn") is not None:
        raise UserError("its topk has another function than ReLU (postact_fn)")
    k = settings.get("k")
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise UserError(f"its k is {str(k)[:40]!r}, and must be a positive whole number")
    return {"activation": "topk", "k": k}, {}, _tensor(tensors, "b_enc")


def _token_scale(source: Source, config: Mapping[str, Any]) -> dict[str, Any]:
    given = source.settings.get("normalize_activations")
    if given is not None and "normalize_activations" in config:
        raise UserError("its configuration says normalize_activations already, so the setting has no effect")
    if given is None and "normalize_activations" not in config:
        raise UserError(
            "its configuration is older than normalize_activations, and does not say how tokens were normalised: give "
            f"it as a setting, one of {', '.join(_TOKEN_SCALES)}"
        )
    kind = config.get("normalize_activations", given) or "none"
    if kind not in _TOKEN_SCALES:
        raise UserError(f"its normalisation {str(kind)[:40]!r} is none of {', '.join(_TOKEN_SCALES)}")
    scale = _TOKEN_SCALES[kind]
    return {"token_scale": scale, "eps": _LAYER_NORM_EPS if scale == "layer_norm" else 0.0}


def _site(config: Mapping[str, Any]) -> str | None:
    layer, subtype = config.get("hook_point_layer"), config.get("layer_subtype")
    if isinstance(layer, list) and len(layer) == 1:
        layer = layer[0]
    return f"blocks.{layer}.{subtype}" if isinstance(layer, int) and isinstance(subtype, str) else None
