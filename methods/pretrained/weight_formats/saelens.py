"""``saelens``: a folder of SAELens, ``cfg.json`` and ``sae_weights.safetensors``, of versions 3 to 6.

Equations and names are those of ``sae_lens/saes``: J. Bloom, C. Tigges, A. Duong and D. Chanin, SAELens (2024).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from methods.errors import UserError
from methods.pretrained.origins import NotOneLayer, transcoded_layer
from methods.pretrained.source import Source, tensors_in
from methods.pretrained.weight_formats import FORMATS
from methods.pretrained.weight_formats.base import Trained, WritableFormat, normal_form
from methods.registry import did_you_mean

_CONFIG, _WEIGHTS = "cfg.json", "sae_weights.safetensors"
#: Normalisation -> the token scale of :class:`TrainedDictionary`. Those that a trainer folds into the weights when it
#: saves them are none.
_TOKEN_SCALES = {"none": "none", "constant_norm_rescale": "rms", "layer_norm": "layer_norm"}
_LAYER_NORM_EPS = 1e-5
#: Keys of the site that is read, of the site that a transcoder writes, and of the model.
_ORIGIN = ("hook_name", "hook_name_out", "model_name")
TRANSCODERS = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")


@FORMATS.register()
class SAELens(WritableFormat):
    """Standard, TopK, absolute TopK, JumpReLU and gated autoencoders; BatchTopK and Matryoshka are saved as JumpReLU.

    Transcoders, with ReLU or JumpReLU and with or without a skip, are read if they go from the input of one linear
    layer to its output.

    ``apply_b_dec_to_input`` (true by default), ``normalize_activations``, ``rescale_acts_by_decoder_norm`` and
    ``finetuning_scaling_factor`` are applied as SAELens does.
    """

    name = "saelens"
    description = "folder of SAELens: cfg.json and sae_weights.safetensors"
    proof = "checkpoints that SAELens itself wrote"
    writes_folder = True

    @classmethod
    def files_of(cls, names: Sequence[str]) -> Sequence[str]:
        return (_CONFIG, _WEIGHTS) if {_CONFIG, _WEIGHTS} <= set(names) else ()

    def recognises(self, source: Source) -> bool:
        return source.is_folder and source.file(_CONFIG) is not None and source.file(_WEIGHTS) is not None

    def read(self, source: Source) -> Trained:
        file = source.file(_WEIGHTS)
        if source.file(_CONFIG) is None or file is None:
            raise UserError(f"a dictionary of SAELens is a folder with {_CONFIG} and {_WEIGHTS}; give the folder")
        config = _with_old_names(source.json(_CONFIG))
        tensors = tensors_in(file)  # SAELens may have saved sparsity.safetensors beside it
        architecture = config.get("architecture", "standard")
        reader = _READERS.get(architecture) if isinstance(architecture, str) else None
        if reader is None:
            name = str(architecture)[:40]
            raise UserError(f"its architecture {name!r} is not computed. {did_you_mean(name, sorted(_READERS))}")
        if config.get("reshape_activations", "none") not in ("none", None):
            raise UserError("it reads the heads of an attention (hook_z), which no site of the harness is")
        activation = config.get("activation_fn")
        if architecture not in _WITH_ACTIVATION and activation not in (None, "relu"):
            raise UserError(f"its activation is {str(activation)[:40]!r}, and that of a {architecture} is relu")
        if config["metadata"].get("hook_head_index") is not None:
            raise UserError("it reads one head of an attention (hook_head_index), which no site of the harness is")
        if unknown := sorted(tensors.keys() - _TENSORS - _EXTRA[architecture]):
            raise UserError(
                f"it has a tensor {unknown[0][:80]!r}, and the architecture {architecture} has none of this name"
            )
        site, site_out, backbone = (_text(config["metadata"], name) for name in _ORIGIN)
        is_transcoder = architecture in TRANSCODERS
        if not is_transcoder and site_out not in (None, site):
            raise UserError(
                f"its hook_name_out {str(site_out)[:80]!r} is another than its hook_name, as of a transcoder, and its "
                f"architecture is {architecture}"
            )
        settings, extra, encoder_bias = reader(config, tensors)
        decoder, output_bias = _tensor(tensors, "W_dec"), _tensor(tensors, "b_dec")
        encoder = _tensor(tensors, "W_enc").T
        _require_sizes(config, encoder, decoder)
        if "scaling_factor" in tensors and config.get("finetuning_scaling_factor") is True:
            # Codes are not changed by it, only what each of them writes.
            decoder = decoder * tensors["scaling_factor"].flatten()[:, None]
        norms = decoder.float().norm(dim=1) if _is_true(config, "rescale_acts_by_decoder_norm", False) else None
        dictionary = normal_form(
            encoder=encoder,
            encoder_bias=encoder_bias,
            decoder=decoder,
            output_bias=output_bias,
            input_bias=output_bias if _is_true(config, "apply_b_dec_to_input", not is_transcoder) else None,
            unit_scale=norms,
            config={**settings, **_token_scale(config)},
            activation=extra,
        )
        return Trained(dictionary, _layer(site, site_out) if is_transcoder else site, backbone)

    def write(self, trained: Trained, target: Path, provenance: Mapping[str, str]) -> None:
        from methods.pretrained.weight_formats.saelens_writer import configuration, state

        content = configuration(trained, provenance)
        save_file(state(trained.dictionary), target / _WEIGHTS)
        (target / _CONFIG).write_text(json.dumps(content, indent=2), encoding="utf-8")


def _layer(hook_in: str | None, hook_out: str | None) -> str | None:
    """Return the linear layer of a transcoder."""
    try:
        return transcoded_layer(hook_in, hook_out)
    except NotOneLayer as error:
        raise UserError(
            f"it is a transcoder from {str(hook_in)[:80]!r} to {str(hook_out)[:80]!r}, which are not the input and the "
            "output of one linear layer, so no site of the harness has both"
        ) from error


def _text(metadata: Mapping[str, Any], name: str) -> str | None:
    value = metadata.get(name)
    return value if isinstance(value, str) and value else None


def _require_sizes(config: Mapping[str, Any], encoder: Tensor, decoder: Tensor) -> None:
    """Check that the configuration has the sizes of the tensors."""
    if encoder.ndim != 2 or decoder.ndim != 2:
        return  # refused with its shape, later
    sizes = {"d_in": encoder.shape[1], "d_sae": len(encoder), "d_out": decoder.shape[1]}
    for name, size in sizes.items():
        value = config.get(name)
        if value is not None and (isinstance(value, bool) or value != size):
            raise UserError(f"its {_CONFIG} says {name} = {str(value)[:40]}, and its tensors say {size}")


def _with_old_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with the names of version 6."""
    renamed = {
        {"hook_point": "hook_name", "activation_fn_str": "activation_fn"}.get(k, k): v for k, v in config.items()
    }
    metadata = renamed.get("metadata")
    renamed["metadata"] = metadata if isinstance(metadata, dict) else {}
    for name in (*_ORIGIN, "hook_head_index"):
        if name in renamed:
            renamed["metadata"].setdefault(name, renamed[name])
    settings = renamed.get("activation_fn_kwargs")
    is_standard = renamed.get("architecture", "standard") == "standard" and renamed.get("activation_fn") == "topk"
    if is_standard and isinstance(settings, dict) and settings.get("k") is not None:
        renamed |= {"architecture": "topk", "k": settings["k"]}
    normalised = renamed.get("normalize_activations")
    if isinstance(normalised, bool):
        renamed["normalize_activations"] = "expected_average_only_in" if normalised else "none"
    return renamed


def _token_scale(config: Mapping[str, Any]) -> dict[str, Any]:
    kind = config.get("normalize_activations") or "none"
    if kind in ("expected_average_only_in", "covariance_whitening"):
        raise UserError(
            f"its activations are normalised by {kind}, whose statistics the folder lacks; fold them into the weights "
            "in SAELens (fold_activation_norm_scaling_factor or fold_activation_whitening) and save them again"
        )
    if kind not in _TOKEN_SCALES:
        raise UserError(f"its normalisation {str(kind)[:40]!r} is none of {', '.join(_TOKEN_SCALES)}")
    scale = _TOKEN_SCALES[kind]
    return {"token_scale": scale, "eps": _LAYER_NORM_EPS if scale == "layer_norm" else 0.0}


def _is_true(config: Mapping[str, Any], name: str, default: bool) -> bool:
    value = config.get(name, default)
    if not isinstance(value, bool):
        raise UserError(f"its {name} is {str(value)[:40]!r}, and must be true or false")
    return value


def _tensor(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise UserError(f"its tensor {name} is missing")
    return tensors[name].float()


_Read = tuple[dict[str, Any], dict[str, Tensor], Tensor]
"""settings of the activation, its tensors, and the bias of the encoder"""


def _standard(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> _Read:
    activation = config.get("activation_fn") or "relu"
    if activation not in ("relu", "identity"):
        raise UserError(f"its activation {str(activation)[:40]!r} is none of relu, identity, topk")
    return {"activation": "relu" if activation == "relu" else "linear"}, {}, _tensor(tensors, "b_enc")


def _topk(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> _Read:
    k = config.get("k")
    if isinstance(k, bool) or not isinstance(k, int | float) or not math.isfinite(k) or k != int(k) or k < 1:
        raise UserError(f"its k is {str(k)[:40]!r}, and must be a positive whole number")
    return {"activation": str(config["architecture"]), "k": int(k)}, {}, _tensor(tensors, "b_enc")


def _jumprelu(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> _Read:
    if "threshold" in tensors or "log_threshold" not in tensors:
        threshold = _tensor(tensors, "threshold")
    else:
        threshold = _tensor(tensors, "log_threshold").exp()
    return {"activation": "jumprelu"}, {"threshold": threshold}, _tensor(tensors, "b_enc")


def _gated(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> _Read:
    values = {"value_scale": torch.exp(_tensor(tensors, "r_mag")), "value_bias": _tensor(tensors, "b_mag")}
    return {"activation": "gated"}, values, _tensor(tensors, "b_gate")


def _transcoder(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> _Read:
    if _is_true(config, "apply_b_dec_to_input", False):
        raise UserError("its apply_b_dec_to_input is true, which SAELens does not compute for transcoders")
    read = _jumprelu if "jumprelu" in config["architecture"] else _standard
    settings, extra, encoder_bias = read(config, tensors)
    has_skip = "skip" in config["architecture"]
    extra |= {"skip_weight": _tensor(tensors, "W_skip")} if has_skip else {}
    return {**settings, "reads": "input", "skip": has_skip}, extra, encoder_bias


_READERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Tensor]], _Read]] = {
    "standard": _standard,
    "topk": _topk,
    "abstopk": _topk,
    "jumprelu": _jumprelu,
    "gated": _gated,
    **dict.fromkeys(TRANSCODERS, _transcoder),
}
#: Architectures whose activation the configuration chooses, or that have one of their own.
_WITH_ACTIVATION = ("standard", "topk", "abstopk")
#: Tensors of every architecture, and of each.
_TENSORS = frozenset({"W_enc", "W_dec", "b_enc", "b_dec", "scaling_factor"})
_EXTRA: dict[str, frozenset[str]] = {
    "standard": frozenset(),
    "topk": frozenset(),
    "abstopk": frozenset(),
    "jumprelu": frozenset({"threshold", "log_threshold"}),
    "gated": frozenset({"b_gate", "r_mag", "b_mag"}),
    "transcoder": frozenset(),
    "skip_transcoder": frozenset({"W_skip"}),
    "jumprelu_transcoder": frozenset({"threshold"}),
    "jumprelu_skip_transcoder": frozenset({"threshold", "W_skip"}),
}
