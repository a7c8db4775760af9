"""``saelens``: a folder of SAELens, ``cfg.json`` and ``sae_weights.safetensors``, of versions 3 to 6.

Equations and names are those of ``sae_lens/saes``: J. Bloom, C. Tigges, A. Duong and D. Chanin, SAELens (2024).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from methods.errors import UserError
from methods.pretrained.source import Source
from methods.pretrained.weight_formats import FORMATS
from methods.pretrained.weight_formats.base import Trained, WeightsFormat, normal_form

_CONFIG, _WEIGHTS = "cfg.json", "sae_weights.safetensors"
#: Normalisation -> the token scale of :class:`TrainedDictionary`. Those that a trainer folds into the weights when it
#: saves them are none.
_TOKEN_SCALES = {"none": "none", "constant_norm_rescale": "rms", "layer_norm": "layer_norm"}
_LAYER_NORM_EPS = 1e-5


@FORMATS.register()
class SAELens(WeightsFormat):
    """Standard, TopK, absolute TopK, JumpReLU and gated autoencoders; BatchTopK and Matryoshka are saved as JumpReLU.

    ``apply_b_dec_to_input`` (true by default), ``normalize_activations``, ``rescale_acts_by_decoder_norm`` and
    ``finetuning_scaling_factor`` are applied as SAELens does.
    """

    name = "saelens"
    description = "folder of SAELens: cfg.json and sae_weights.safetensors"
    proof = "checkpoints that SAELens itself wrote"

    def recognises(self, source: Source) -> bool:
        return source.is_folder and source.file(_CONFIG) is not None and source.file(_WEIGHTS) is not None

    def read(self, source: Source) -> Trained:
        if source.file(_CONFIG) is None or source.file(_WEIGHTS) is None:
            raise UserError(f"a dictionary of SAELens is a folder with {_CONFIG} and {_WEIGHTS}; give the folder")
        config = _with_old_names(source.json(_CONFIG))
        tensors = source.tensors
        architecture = config.get("architecture", "standard")
        reader = _READERS.get(architecture) if isinstance(architecture, str) else None
        if reader is None:
            architectures = ", ".join(sorted(_READERS))
            raise UserError(
                f"its architecture {str(architecture)[:40]!r} is none of those that are computed: {architectures}"
            )
        if config.get("reshape_activations", "none") not in ("none", None):
            raise UserError("it reads the heads of an attention (hook_z), which no site of the harness is")
        if unknown := sorted(tensors.keys() - _TENSORS - _EXTRA[architecture]):
            raise UserError(
                f"it has a tensor {unknown[0][:80]!r}, and the architecture {architecture} has none of this name"
            )
        settings, extra, encoder_bias = reader(config, tensors)
        decoder, output_bias = _tensor(tensors, "W_dec"), _tensor(tensors, "b_dec")
        encoder = _tensor(tensors, "W_enc").T
        if "scaling_factor" in tensors and config.get("finetuning_scaling_factor") is True:
            # Codes are not changed by it, only what each of them writes.
            decoder = decoder * tensors["scaling_factor"].flatten()[:, None]
        norms = decoder.float().norm(dim=1) if _is_true(config, "rescale_acts_by_decoder_norm", False) else None
        dictionary = normal_form(
            encoder=encoder,
            encoder_bias=encoder_bias,
            decoder=decoder,
            output_bias=output_bias,
            input_bias=output_bias if _is_true(config, "apply_b_dec_to_input", True) else None,
            unit_scale=norms,
            config={**settings, **_token_scale(config)},
            activation=extra,
        )
        metadata = config["metadata"]
        site, backbone = (metadata.get(name) for name in ("hook_name", "model_name"))
        return Trained(
            dictionary, site if isinstance(site, str) else None, backbone if isinstance(backbone, str) else None
        )


def _with_old_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with the names of version 6."""
    renamed = {
        {"hook_point": "hook_name", "activation_fn_str": "activation_fn"}.get(k, k): v for k, v in config.items()
    }
    metadata = renamed.get("metadata")
    renamed["metadata"] = metadata if isinstance(metadata, dict) else {}
    for name in ("hook_name", "model_name"):
        if name in renamed:
            renamed["metadata"].setdefault(name, renamed[name])
    settings = renamed.get("activation_fn_kwargs")
    if renamed.get("activation_fn") == "topk" and isinstance(settings, dict) and settings.get("k") is not None:
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


_READERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Tensor]], _Read]] = {
    "standard": _standard,
    "topk": _topk,
    "abstopk": _topk,
    "jumprelu": _jumprelu,
    "gated": _gated,
}
#: Tensors of every architecture, and of each.
_TENSORS = frozenset({"W_enc", "W_dec", "b_enc", "b_dec", "scaling_factor"})
_EXTRA: dict[str, frozenset[str]] = {
    "standard": frozenset(),
    "topk": frozenset(),
    "abstopk": frozenset(),
    "jumprelu": frozenset({"threshold", "log_threshold"}),
    "gated": frozenset({"b_gate", "r_mag", "b_mag"}),
}
