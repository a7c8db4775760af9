"""``plain``: one safetensors file with the tensors that the literature names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors.torch import save_file
from torch import Tensor

from methods.errors import UserError
from methods.interface import Reads
from methods.pretrained.source import Source
from methods.pretrained.trained_dictionary import COUNTED, Activation, TokenScale
from methods.pretrained.weight_formats import FORMATS
from methods.pretrained.weight_formats.base import Trained, WritableFormat, normal_form, tensors_of

_REQUIRED = frozenset({"W_enc", "W_dec"})
#: Activation -> the tensors that it needs besides those of all.
_EXTRA = {"jumprelu": ("threshold",), "gated": ("value_scale", "value_bias")}
_ALLOWED = _REQUIRED | {"b_enc", "b_dec", "k", "W_skip"} | {name for names in _EXTRA.values() for name in names}
_ACTIVATIONS: tuple[str, ...] = get_args(Activation)
_TRUTH = {"true": True, "false": False}
#: Tensor -> the activations that have it.
_OWNERS = {"threshold": ("jumprelu",), "k": COUNTED, "value_scale": ("gated",), "value_bias": ("gated",)}
_SAELENS = "sae_weights.safetensors"


@FORMATS.register()
class Plain(WritableFormat):
    """``codes = act(x W_enc + b_enc)``, ``output = codes W_dec + b_dec``.

    ``W_enc`` is (d_in, n_units) and ``W_dec`` (n_units, d_out); a transposed matrix is recognised by the length of
    ``b_enc``. ``b_enc`` and ``b_dec`` are 0 if they are missing. The activation is JumpReLU if there is a ``threshold``
    (n_units,) or (), TopK if there is a ``k`` (a tensor () or metadata), else ReLU. The file's metadata may say
    otherwise: ``activation`` (one of :class:`TrainedDictionary`; gated needs the tensors ``value_scale`` and
    ``value_bias``), ``k``, ``apply_b_dec_to_input`` ("true": ``b_dec`` is subtracted from x first), ``token_scale`` and
    ``eps`` (normalisation of each token), ``reads`` ("input": a transcoder), ``site`` and ``backbone``. If there is a
    ``W_skip`` (d_out, d_in), ``x W_skip^T`` is added to the output. Any trained dictionary can be written.
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
        reads = _choice(metadata, "reads", get_args(Reads), "output")
        config: dict[str, Any] = {"activation": kind, "reads": reads, **_token_scale(metadata)}
        if kind in COUNTED:
            config["k"] = _k(tensors, metadata, kind)
        extra = {name: _per_unit(name, tensors[name], encoder.shape[1]) for name in _EXTRA.get(kind, ())}
        if "W_skip" in tensors:
            config["skip"], extra["skip_weight"] = True, tensors["W_skip"]
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

    def write(self, trained: Trained, target: Path, provenance: Mapping[str, str]) -> None:
        config, tensors = trained.dictionary.config, tensors_of(trained.dictionary)
        names = {"encoder_bias": "b_enc", "atoms": "W_dec", "output_bias": "b_dec", "skip_weight": "W_skip"}
        encoder = tensors.pop("encoder_weight").T.contiguous()
        settings = {
            "activation": config.activation,
            "k": str(config.k) if config.activation in COUNTED else None,
            "apply_b_dec_to_input": "false",
            "token_scale": config.token_scale if config.token_scale != "none" else None,
            "eps": repr(config.eps) if config.eps else None,
            "reads": config.reads if config.reads != "output" else None,
            "site": trained.site,
            "backbone": trained.backbone,
        }
        metadata = {**provenance, **{name: text for name, text in settings.items() if text is not None}}
        save_file(
            {"W_enc": encoder, **{names.get(name, name): each for name, each in tensors.items()}}, target, metadata
        )


def _token_scale(metadata: Mapping[str, str]) -> dict[str, Any]:
    kind = _choice(metadata, "token_scale", get_args(TokenScale), "none")
    text = "0" if kind == "none" else metadata.get("eps", "0")
    try:
        eps = float(text)
    except ValueError:
        eps = math.nan
    if not 0 <= eps < math.inf:
        raise UserError(f"its metadata eps is {text[:40]!r}; it is a number, at least 0")
    return {"token_scale": kind, "eps": eps}


def _choice(metadata: Mapping[str, str], key: str, allowed: tuple[str, ...], default: str) -> str:
    value = metadata.get(key, default)
    if value not in allowed:
        raise UserError(f"its metadata {key} is {value[:40]!r}; it is one of {', '.join(allowed)}")
    return value


def _truth(metadata: Any, key: str) -> bool:
    text = metadata.get(key, "false")
    if text not in _TRUTH:
        raise UserError(f"its metadata {key} is {text[:40]!r}; it is true or false")
    return _TRUTH[text]


def _activation(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Return the activation that tensors and metadata name.

    Raises:
        UserError: if they name several, or the named one needs another tensor, or has none of that name.
    """
    named = metadata.get("activation")
    if named is not None and named not in _ACTIVATIONS:
        raise UserError(f"its metadata names the activation {named[:40]!r}; it is one of {', '.join(_ACTIVATIONS)}")
    present = [key for key in _OWNERS if key in tensors or (key == "k" and "k" in metadata)]
    kind = named or ("jumprelu" if "threshold" in present else "topk" if "k" in present else "relu")
    if named is None and {"threshold", "k"} <= {*present}:
        raise UserError("it has a threshold and a k, and no activation has both: leave one out")
    for key in present:
        if kind not in _OWNERS[key]:
            origin = "its metadata names" if named else "its other tensors name"
            raise UserError(
                f"{origin} the activation {kind}, which has no {key}, and the file has one: leave out one of the two"
            )
    for name in _EXTRA.get(kind, ()):
        if name not in tensors:
            raise UserError(f"its metadata names the activation {kind}, and there is no tensor {name}")
    return kind


def _per_unit(name: str, values: Tensor, n_units: int) -> Tensor:
    if values.numel() not in (1, n_units) or values.dtype == torch.bool:
        raise UserError(
            f"its {name} has the shape {tuple(values.shape)} and type {values.dtype}, and it must be ({n_units},) or "
            "() of numbers"
        )
    return values.flatten().expand(n_units)


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


def _k(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], kind: str) -> int:
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
        raise UserError(f"the activation is {kind}, {value}: it must be a positive whole number")
    return int(text)
