"""``plain``: one safetensors file with the tensors that the literature names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from methods.errors import UserError
from methods.pretrained.source import Source
from methods.pretrained.weight_formats import FORMATS
from methods.pretrained.weight_formats.base import Trained, WeightsFormat, normal_form

_REQUIRED = frozenset({"W_enc", "W_dec"})
_ALLOWED = _REQUIRED | {"b_enc", "b_dec", "threshold", "k"}
_ACTIVATIONS = ("relu", "topk", "jumprelu", "linear")
_TRUTH = {"true": True, "false": False}
#: Activation -> the tensor that only it has.
_KEYS = {"jumprelu": "threshold", "topk": "k"}
_SAELENS = "sae_weights.safetensors"


@FORMATS.register()
class Plain(WeightsFormat):
    """``codes = act(x W_enc + b_enc)``, ``output = codes W_dec + b_dec``.

    ``W_enc`` is (d_in, n_units) and ``W_dec`` (n_units, d_out); a transposed matrix is recognised by the length of
    ``b_enc``. ``b_enc`` and ``b_dec`` are 0 if they are missing. The activation is JumpReLU if there is a ``threshold``
    (n_units,) or (), TopK if there is a ``k`` (a tensor () or metadata), else ReLU. The file's metadata may say
    otherwise: ``activation`` (relu, topk, jumprelu, linear), ``k``, ``apply_b_dec_to_input`` ("true": ``b_dec`` is
    subtracted from x first), ``site`` and ``backbone``.
    """

    name = "plain"
    description = "safetensors with W_enc, b_enc, W_dec, b_dec, and optionally threshold or k"
    proof = "files of the documented layout"

    def recognises(self, source: Source) -> bool:
        return not source.is_folder and source.names >= _REQUIRED and source.names <= _ALLOWED

    def read(self, source: Source) -> Trained:
        if source.is_folder:
            raise UserError(
                "the plain format is one file, and what else the folder says would be left out: give the file"
            )
        _require_no_saelens(source)
        tensors, metadata = source.tensors, source.metadata
        if unknown := sorted(tensors.keys() - _ALLOWED):
            raise UserError(f"the plain format has no tensor {unknown[0]!r}; it has {', '.join(sorted(_ALLOWED))}")
        if missing := sorted(_REQUIRED - tensors.keys()):
            raise UserError(f"the tensor {missing[0]} of the plain format is missing")
        n_units = len(tensors["b_enc"]) if tensors.get("b_enc") is not None and tensors["b_enc"].ndim == 1 else None
        encoder, decoder = tensors["W_enc"], tensors["W_dec"]
        if encoder.ndim != 2 or decoder.ndim != 2:
            raise UserError("W_enc and W_dec must be matrices")
        if n_units is not None and encoder.shape[1] != n_units == encoder.shape[0]:
            encoder = encoder.T
        if decoder.shape[0] != encoder.shape[1] == decoder.shape[1]:
            decoder = decoder.T
        kind = _activation(tensors, metadata)
        is_subtracted = _truth(metadata, "apply_b_dec_to_input")
        config: dict[str, Any] = {"activation": kind, **({"k": _k(tensors, metadata)} if kind == "topk" else {})}
        extra: dict[str, Tensor] = {}
        if kind == "jumprelu":
            extra["threshold"] = _threshold(tensors["threshold"], encoder.shape[1])
        dictionary = normal_form(
            encoder=encoder.T,
            encoder_bias=tensors.get("b_enc"),
            decoder=decoder,
            output_bias=tensors.get("b_dec"),
            input_bias=tensors.get("b_dec") if is_subtracted else None,
            config=config,
            activation=extra,
        )
        note = (
            "The file does not say whether b_dec is subtracted from the input; it was not. If it should be, add "
            'apply_b_dec_to_input = "true" to its metadata.'
        )
        notes = (note,) if "b_dec" in tensors and "apply_b_dec_to_input" not in metadata else ()
        if encoder.shape[0] == encoder.shape[1]:
            notes = (*notes, "W_enc is square, so its orientation is not known; it was read as (d_in, n_units).")
        return Trained(dictionary, metadata.get("site"), metadata.get("backbone"), notes)


def _truth(metadata: Any, key: str) -> bool:
    text = metadata.get(key, "false")
    if text not in _TRUTH:
        raise UserError(f"its metadata {key} is {text[:40]!r}; it is true or false")
    return _TRUTH[text]


def _activation(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Return the activation that tensors and metadata name.

    Raises:
        UserError: if they name several, or a tensor that the named one does not have.
    """
    named = metadata.get("activation")
    if named is not None and named not in _ACTIVATIONS:
        raise UserError(f"its metadata names the activation {named[:40]!r}; it is one of {', '.join(_ACTIVATIONS)}")
    implied = [kind for kind, key in _KEYS.items() if key in tensors or (key == "k" and "k" in metadata)]
    if len(implied) > 1:
        raise UserError("it has a threshold and a k, and no activation has both: leave one out")
    kind = named or (implied[0] if implied else "relu")
    if implied and implied != [kind]:
        raise UserError(
            f"its metadata names the activation {kind}, which has no {_KEYS[implied[0]]}, and the file has one: leave "
            "out one of the two"
        )
    if kind == "jumprelu" and not implied:
        raise UserError("its metadata names the activation jumprelu, and there is no tensor threshold")
    return kind


def _threshold(threshold: Tensor, n_units: int) -> Tensor:
    if threshold.numel() not in (1, n_units) or threshold.dtype == torch.bool:
        raise UserError(
            f"its threshold has the shape {tuple(threshold.shape)} and type {threshold.dtype}, and it must be "
            f"({n_units},) or () of numbers"
        )
    return threshold.flatten().expand(n_units)


def _require_no_saelens(source: Source) -> None:
    """Refuse weights of SAELens, whose configuration says which activation they have."""
    beside = Source(source.path.parent)
    has_config = "d_sae" in _json(beside, "cfg.json") and beside.file(_SAELENS) is None
    if source.path.name == _SAELENS or has_config:
        raise UserError(
            f"it is a file of SAELens by {'its name' if source.path.name == _SAELENS else 'the cfg.json beside it'}, "
            f"whose cfg.json says which activation it has: give a folder with cfg.json and {_SAELENS}"
        )


def _json(source: Source, name: str) -> Mapping[str, Any]:
    try:
        return source.json(name)
    except UserError:
        return {}


def _k(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> int:
    text, tensor = metadata.get("k"), tensors.get("k")
    if tensor is not None:
        if tensor.numel() != 1 or tensor.dtype == torch.bool:
            raise UserError(f"its k has the shape {tuple(tensor.shape)} and type {tensor.dtype}, and is not one number")
        saved = f"{float(tensor):.15g}"
        if text is not None and text != saved:
            raise UserError(f"its tensor k is {saved}, and its metadata say {text[:40]!r}")
        text = saved
    if text is None or not (text.isascii() and text.isdecimal()) or len(text) > 9 or int(text) < 1:
        value = "and neither a tensor k nor the metadata give k" if text is None else f"and its k is {text[:40]!r}"
        raise UserError(f"the activation is topk, {value}: it must be a positive whole number")
    return int(text)
