"""``dictionary_learning``: a folder of dictionary_learning, ``ae.pt`` and ``config.json``, or its ``ae.pt`` alone.

Equations and names are those of ``dictionary.py`` and ``trainers/`` of version 0.1.0: S. Marks, A. Karvonen and
A. Mueller, dictionary_learning (2024), https://github.com/saprmarks/dictionary_learning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from methods.errors import UserError
from methods.pretrained.source import Source
from methods.pretrained.trained_dictionary import TrainedDictionary
from methods.pretrained.weight_formats import FORMATS
from methods.pretrained.weight_formats.base import Trained, WeightsFormat, normal_form

_CONFIG, _WEIGHTS = "config.json", "ae.pt"
#: ``ae.pt``, and the ``ae_1000.pt`` of a checkpoint.
_FILE = re.compile(r"ae(_\d+)?\.pt")
#: How its scripts name the output of a block.
_RESIDUAL = re.compile(r"resid_post_layer_(\d+)")
_NOT_ESTIMATED = (
    "Its threshold was never estimated (the training was shorter than threshold_start_step), so its codes are those of "
    "a ReLU and not k per token."
)


@FORMATS.register()
class DictionaryLearning(WeightsFormat):
    """Standard, gated, JumpReLU, TopK, BatchTopK and Matryoshka autoencoders, as ``load_dictionary`` loads them.

    BatchTopK and Matryoshka autoencoders keep the units above their saved threshold, and the atoms of a standard
    autoencoder are normalised to length 1: both are what the package does when it loads them.
    """

    name = "dictionary_learning"
    description = "folder of dictionary_learning: ae.pt and config.json"
    proof = "checkpoints that dictionary_learning 0.1.0 itself trained and wrote"
    settings = {
        "dict_class": "class of the autoencoder, such as BatchTopKSAE, if there is no config.json that names it",
    }

    @classmethod
    def files_of(cls, names: Sequence[str]) -> Sequence[str]:
        return (_CONFIG, _WEIGHTS) if {_CONFIG, _WEIGHTS} <= set(names) else ()

    def recognises(self, source: Source) -> bool:
        if source.is_folder:
            return source.file(_WEIGHTS) is not None and source.file(_CONFIG) is not None
        try:
            return _FILE.fullmatch(source.path.name) is not None and bool(_candidates(source.state()))
        except UserError:
            return False

    def read(self, source: Source) -> Trained:
        tensors, trainer = source.state(_WEIGHTS if source.is_folder else None), _trainer(source)
        name = source.settings.get("dict_class", trainer.get("dict_class")) or _class_of(tensors)
        layout = _LAYOUTS.get(name) if isinstance(name, str) else None
        if layout is None:
            classes = ", ".join(sorted(_LAYOUTS))
            raise UserError(f"its class {str(name)[:40]!r} is none of those that are computed: {classes}")
        if missing := sorted(layout.required - tensors.keys()):
            raise UserError(f"its tensor {missing[0]} is missing, which the class {name} has")
        if unknown := sorted(tensors.keys() - layout.required - layout.optional):
            raise UserError(f"it has a tensor {unknown[0][:80]!r}, and the class {name} has none of this name")
        buffer = source.json(_CONFIG).get("buffer") if source.is_folder else None
        io = buffer.get("io", "out") if isinstance(buffer, dict) else "out"
        if io == "in_and_out":
            raise UserError("it is a transcoder (io = in_and_out), which reads the input of its module, not the output")
        dictionary = layout.read(tensors, trainer)
        site, backbone = _site(trainer), trainer.get("lm_name")
        notes = _notes(str(name), tensors)
        if io == "in":
            notes += (f"The weights were trained on the input of {str(site)[:80]!r} (io = in).",)
        return Trained(dictionary, site, backbone if isinstance(backbone, str) else None, notes)


def _trainer(source: Source) -> dict[str, Any]:
    """Return what ``config.json`` says of the training; empty if there is none."""
    trainer = source.json(_CONFIG).get("trainer") if source.is_folder else None
    return trainer if isinstance(trainer, dict) else {}


def _site(trainer: Mapping[str, Any]) -> str | None:
    name, layer = trainer.get("submodule_name"), trainer.get("layer")
    if isinstance(name, str) and name:
        block = _RESIDUAL.fullmatch(name)
        return name if block is None else f"blocks.{block[1]}.hook_resid_post"
    return str(layer) if isinstance(layer, int) and not isinstance(layer, bool) else None


def _candidates(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the classes that have these tensors."""
    names = tensors.keys()
    return [name for name, layout in _LAYOUTS.items() if layout.required <= names <= layout.required | layout.optional]


def _class_of(tensors: Mapping[str, Tensor]) -> str:
    """Return the class of tensors whose file names none.

    Raises:
        UserError: if there is not exactly one.
    """
    candidates = _candidates(tensors)
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise UserError(
            f"its tensors are those of none of the classes {', '.join(sorted(_LAYOUTS))}, and no {_CONFIG} names one"
        )
    raise UserError(
        f"no {_CONFIG} names its class, and its tensors are those of {' and '.join(candidates)}: give the folder with "
        f"{_CONFIG}, or say which in the settings, for example dict_class={candidates[0]}"
    )


def _notes(name: str, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    by_threshold = name in ("BatchTopKSAE", "MatryoshkaBatchTopKSAE")
    return (_NOT_ESTIMATED,) if by_threshold and float(tensors["threshold"]) < 0 else ()


def _standard(tensors: Mapping[str, Tensor], trainer: Mapping[str, Any]) -> TrainedDictionary:
    norms = tensors["decoder.weight"].float().norm(dim=0)
    is_normalised = torch.allclose(norms, torch.ones_like(norms))
    return normal_form(
        encoder=tensors["encoder.weight"],
        encoder_bias=tensors["encoder.bias"],
        decoder=tensors["decoder.weight"].T,
        output_bias=tensors["bias"],
        input_bias=tensors["bias"],
        unit_scale=None if is_normalised else torch.where(norms > 0, norms, 1.0),
    )


def _new(tensors: Mapping[str, Tensor], trainer: Mapping[str, Any]) -> TrainedDictionary:
    return normal_form(
        encoder=tensors["encoder.weight"],
        encoder_bias=tensors["encoder.bias"],
        decoder=tensors["decoder.weight"].T,
        output_bias=tensors["decoder.bias"],
    )


def _gated(tensors: Mapping[str, Tensor], trainer: Mapping[str, Any]) -> TrainedDictionary:
    return normal_form(
        encoder=tensors["encoder.weight"],
        encoder_bias=tensors["gate_bias"],
        decoder=tensors["decoder.weight"].T,
        output_bias=tensors["decoder_bias"],
        input_bias=tensors["decoder_bias"],
        config={"activation": "gated"},
        activation={"value_scale": tensors["r_mag"].float().exp(), "value_bias": tensors["mag_bias"]},
    )


def _jumprelu(tensors: Mapping[str, Tensor], trainer: Mapping[str, Any]) -> TrainedDictionary:
    return normal_form(
        encoder=tensors["W_enc"].T,
        encoder_bias=tensors["b_enc"],
        decoder=tensors["W_dec"],
        output_bias=tensors["b_dec"],
        config={"activation": "jumprelu"},
        activation={"threshold": tensors["threshold"]},
    )


def _topk(tensors: Mapping[str, Tensor], trainer: Mapping[str, Any]) -> TrainedDictionary:
    k, named = _scalar(tensors, "k"), trainer.get("k")
    if named is not None and named != k:
        raise UserError(f"its tensor k is {k:g}, and its {_CONFIG} says {str(named)[:40]}")
    return normal_form(
        encoder=tensors["encoder.weight"],
        encoder_bias=tensors["encoder.bias"],
        decoder=tensors["decoder.weight"].T,
        output_bias=tensors["b_dec"],
        input_bias=tensors["b_dec"],
        config={"activation": "topk", "k": int(k)},
    )


def _batchtopk(tensors: Mapping[str, Tensor], trainer: Mapping[str, Any]) -> TrainedDictionary:
    return normal_form(
        encoder=tensors["encoder.weight"],
        encoder_bias=tensors["encoder.bias"],
        decoder=tensors["decoder.weight"].T,
        output_bias=tensors["b_dec"],
        input_bias=tensors["b_dec"],
        config={"activation": "jumprelu"},
        activation={"threshold": torch.full((len(tensors["encoder.weight"]),), _scalar(tensors, "threshold"))},
    )


def _matryoshka(tensors: Mapping[str, Tensor], trainer: Mapping[str, Any]) -> TrainedDictionary:
    return normal_form(
        encoder=tensors["W_enc"].T,
        encoder_bias=tensors["b_enc"],
        decoder=tensors["W_dec"],
        output_bias=tensors["b_dec"],
        input_bias=tensors["b_dec"],
        config={"activation": "jumprelu"},
        activation={"threshold": torch.full((len(tensors["W_dec"]),), _scalar(tensors, "threshold"))},
    )


def _scalar(tensors: Mapping[str, Tensor], name: str) -> float:
    tensor = tensors[name]
    if tensor.numel() != 1:
        raise UserError(f"its tensor {name} has the shape {tuple(tensor.shape)}, and it must be one number")
    return float(tensor)


class _Layout(NamedTuple):
    """Tensors of a class, and how they are read."""

    read: Callable[[Mapping[str, Tensor], Mapping[str, Any]], TrainedDictionary]
    required: frozenset[str]
    optional: frozenset[str] = frozenset()


_LINEAR = frozenset({"encoder.weight", "encoder.bias", "decoder.weight"})
_MATRICES = frozenset({"W_enc", "b_enc", "W_dec", "b_dec", "threshold"})
_LAYOUTS: dict[str, _Layout] = {
    "AutoEncoder": _Layout(_standard, _LINEAR | {"bias"}),
    "AutoEncoderNew": _Layout(_new, _LINEAR | {"decoder.bias"}),
    "GatedAutoEncoder": _Layout(
        _gated, frozenset({"encoder.weight", "decoder.weight", "decoder_bias", "r_mag", "gate_bias", "mag_bias"})
    ),
    "JumpReluAutoEncoder": _Layout(_jumprelu, _MATRICES),
    # Checkpoints of earlier versions have no threshold, which only a BatchTopK autoencoder uses.
    "AutoEncoderTopK": _Layout(_topk, _LINEAR | {"b_dec", "k"}, frozenset({"threshold"})),
    "BatchTopKSAE": _Layout(_batchtopk, _LINEAR | {"b_dec", "k", "threshold"}),
    "MatryoshkaBatchTopKSAE": _Layout(_matryoshka, _MATRICES | {"k", "group_sizes"}),
}
