"""``overcomplete``: the ``state_dict`` of a module of overcomplete, in one pickled or safetensors file.

Equations and names are those of ``overcomplete/sae`` of version 0.3.0: T. Fel et al., Overcomplete (2025),
https://github.com/KempnerInstitute/overcomplete. Codes are those of the module in evaluation mode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from methods.errors import UserError
from methods.pretrained.source import Setting, Source
from methods.pretrained.weight_formats import FORMATS
from methods.pretrained.weight_formats.base import Trained, WeightsFormat, normal_form
from methods.registry import did_you_mean

_ENCODER, _ATOMS, _POINTS = "encoder.", "dictionary._weights", "dictionary.C"
_MULTIPLIER = "dictionary.multiplier"
_TIED = "encoder.tied_to."
_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
_KNOWN = {
    *(_ATOMS, _POINTS, _MULTIPLIER, "dictionary.W", "dictionary.Relax", "thresholds"),
    *(f"{_ENCODER}{name}" for name in ("weight", "bias", "final_block.0.weight", "final_block.0.bias")),
    *(f"{_ENCODER}final_block.1.{name}" for name in (*_BATCH_NORM, "num_batches_tracked")),
}
#: ``eps`` of torch.nn.BatchNorm1d, which no module of the package changes.
_BATCH_NORM_EPS = 1e-5
#: Added to norms and sums by the package.
_TINY = 1e-8
#: Lengths of atoms that an optimiser may leave after its last step, from atoms of length 1.
_NEAR_UNIT = (0.5, 2.0)
_NOT_COMPUTED = {
    "QSAE": "its codes are quantised",
    "OMPSAE": "its codes are the solutions of a non-negative least squares problem per token",
}


@FORMATS.register()
class Overcomplete(WeightsFormat):
    """SAE, TopKSAE, BatchTopKSAE, JumpSAE, MpSAE, RATopKSAE and RAJumpSAE with an encoder that is linear.

    Linear are the default encoder, ``mlp_bn_1`` (its batch normalisation has fixed statistics in evaluation mode), and
    tied and untied encoders; their output activation is taken to be ReLU, the default. Dictionaries are normalised,
    relaxed and multiplied as ``eval()`` does. What a ``state_dict`` does not hold is a setting.
    """

    name = "overcomplete"
    description = "state_dict of a module of overcomplete, as .pt, .pth or .safetensors"
    proof = "state_dicts of the modules of overcomplete 0.3.0"
    settings = {
        "module": "class: SAE, TopKSAE, BatchTopKSAE, JumpSAE, MpSAE, RATopKSAE or RAJumpSAE, if the tensors fit "
        "several",
        "k": "TopKSAE, RATopKSAE: top_k of the module, units per token; MpSAE: its k, steps per token",
        "threshold": "BatchTopKSAE: its running_threshold",
        "normalization": "normalisation of the dictionary: l2 (default), max_l2, l1, max_l1 or identity",
        "delta": "RATopKSAE, RAJumpSAE: delta of the module (default 1.0)",
    }

    def recognises(self, source: Source) -> bool:
        try:
            names = source.state().keys()
        except UserError:
            return False
        return _MULTIPLIER in names and (_ATOMS in names or _POINTS in names)

    def read(self, source: Source) -> Trained:
        tensors, settings = source.state(), source.settings
        if _MULTIPLIER not in tensors or (_ATOMS not in tensors and _POINTS not in tensors):
            raise UserError(
                f"it has no tensors {_MULTIPLIER} and {_ATOMS} (or {_POINTS}): save the state_dict of the whole module"
            )
        name = _module(tensors, settings)
        atoms, notes = _atoms(tensors, settings)
        module = _MODULES[name]
        for setting in settings:
            if setting in ("k", "threshold") and setting != module.setting:
                raise UserError(f"a {name} has no setting {setting}")
        activation = module.activation(tensors, settings, len(atoms))
        encoder = _Encoder(atoms, None) if name == "MpSAE" else _encoder(tensors, atoms)
        if unknown := [each for each in tensors if each not in _KNOWN and not each.startswith(_TIED)]:
            raise UserError(f"its tensor {min(unknown)[:80]!r} is none of overcomplete's, so what it does is not known")
        dictionary = normal_form(
            encoder=encoder.weight,
            encoder_bias=encoder.bias,
            decoder=atoms,
            output_bias=None,
            config=activation.config,
            activation=activation.tensors,
        )
        return Trained(dictionary, notes=(f"The weights were read as those of {name}.", *notes))


def _module(tensors: Mapping[str, Tensor], settings: Mapping[str, Setting]) -> str:
    """Return the name of the class, which the user gives or the tensors and settings imply.

    Raises:
        UserError: if it is not computed, not known, or not fit for the tensors.
    """
    implied = _implied(tensors, settings)
    given = settings.get("module")
    if "Q" in tensors:
        given = "QSAE"
    if given in _NOT_COMPUTED:
        raise UserError(f"it is a module {given}, which is not computed: {_NOT_COMPUTED[str(given)]}")
    if given is None:
        if len(implied) == 1:
            return implied[0]
        raise UserError(
            f"its tensors are those of {' or '.join(implied)}: say which in the settings, for example "
            f"module={implied[0]}"
        )
    if given not in _MODULES:
        raise UserError(
            f"overcomplete has no module {str(given)[:40]!r} that is computed. {did_you_mean(str(given), [*_MODULES])}"
        )
    if given not in implied:
        raise UserError(
            f"the settings say that it is a module {given}, and its tensors and settings are those of "
            f"{' or '.join(implied)}"
        )
    return str(given)


def _implied(tensors: Mapping[str, Tensor], settings: Mapping[str, Setting]) -> list[str]:
    """Return the classes that have these tensors and settings."""
    if _POINTS in tensors:
        return ["RAJumpSAE" if "thresholds" in tensors else "RATopKSAE"]
    if "thresholds" in tensors:
        return ["JumpSAE"]
    if not any(name.startswith(_ENCODER) for name in tensors):
        return ["MpSAE", "OMPSAE"]
    if "k" in settings:
        return ["TopKSAE"]
    if "threshold" in settings:
        return ["BatchTopKSAE"]
    return ["SAE", "TopKSAE", "BatchTopKSAE"]


# ---- dictionaries


def _atoms(tensors: Mapping[str, Tensor], settings: Mapping[str, Setting]) -> tuple[Tensor, tuple[str, ...]]:
    """Return the (n_units, d) atoms as ``eval()`` computes them, and sentences on what was assumed."""
    multiplier = _tensor(tensors, _MULTIPLIER)
    if multiplier.numel() != 1:
        raise UserError(f"its tensor {_MULTIPLIER} has the shape {tuple(multiplier.shape)}, and it must be one number")
    atoms, notes = _archetypes(tensors, settings) if _POINTS in tensors else _normalised(tensors, settings)
    return atoms * multiplier.exp().reshape(()), notes


def _normalised(tensors: Mapping[str, Tensor], settings: Mapping[str, Setting]) -> tuple[Tensor, tuple[str, ...]]:
    if "delta" in settings:
        raise UserError("delta is a setting of archetypal dictionaries, and its dictionary is none")
    weights = _matrix(tensors, _ATOMS)
    kind = settings.get("normalization")
    if kind is not None:
        if kind not in _NORMALIZATIONS:
            raise UserError(
                f"overcomplete has no normalization {str(kind)[:40]!r}. {did_you_mean(str(kind), [*_NORMALIZATIONS])}"
            )
        return _NORMALIZATIONS[str(kind)](weights), ()
    lengths = weights.norm(dim=1)
    shortest, longest = float(lengths.min()), float(lengths.max())
    if lengths.isfinite().all() and not _NEAR_UNIT[0] <= shortest <= longest <= _NEAR_UNIT[1]:
        raise UserError(
            f"its atoms have lengths from {shortest:.3g} to {longest:.3g}, so the default normalization l2 was not "
            f"used in training: give normalization in the settings, one of {', '.join(_NORMALIZATIONS)}"
        )
    is_unit = bool(torch.allclose(lengths, torch.ones_like(lengths), atol=1e-5))
    note = (
        f"The file does not say how the dictionary is normalised; its atoms, of lengths {shortest:.3g} to "
        f"{longest:.3g}, were normalised to length 1 (l2, the default of overcomplete)."
    )
    return _l2(weights), () if is_unit else (note,)


def _archetypes(tensors: Mapping[str, Tensor], settings: Mapping[str, Setting]) -> tuple[Tensor, tuple[str, ...]]:
    """Return convex combinations of the points plus their relaxation, whose length is at most delta."""
    if "normalization" in settings:
        raise UserError("an archetypal dictionary is not normalised: leave normalization out of the settings")
    points, relaxation = _matrix(tensors, _POINTS), _matrix(tensors, "dictionary.Relax")
    mixture = _matrix(tensors, "dictionary.W").relu()
    shape = (len(relaxation), len(points))
    if tuple(mixture.shape) != shape or points.shape[1] != relaxation.shape[1]:
        raise UserError(
            f"its tensors dictionary.W {tuple(mixture.shape)}, C {tuple(points.shape)} and Relax "
            f"{tuple(relaxation.shape)} do not fit together"
        )
    delta = _number(settings, "delta", 1.0)
    if delta < 0:
        raise UserError(f"delta is {delta:g}, and must not be negative")
    mixture = mixture / (mixture.sum(dim=1, keepdim=True) + _TINY)
    lengths = relaxation.norm(dim=1, keepdim=True)
    kept = torch.where(lengths > delta, delta / lengths, 1.0)
    note = "The file does not say the delta of its archetypal dictionary; it was taken to be 1, the default."
    return mixture @ points + relaxation * kept, () if "delta" in settings else (note,)


def _l2(weights: Tensor) -> Tensor:
    lengths: Tensor = weights.norm(dim=1, keepdim=True)
    return weights / (lengths + _TINY)


_NORMALIZATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "l2": _l2,
    "max_l2": lambda weights: weights / weights.norm(dim=1).max(),
    "l1": lambda weights: weights / (weights.abs().sum(dim=1, keepdim=True) + _TINY),
    "max_l1": lambda weights: weights / weights.abs().sum(dim=1).max(),
    "identity": lambda weights: weights,
}


# ---- encoders


class _Encoder(NamedTuple):
    weight: Tensor
    """(n_units, d)"""
    bias: Tensor | None


def _encoder(tensors: Mapping[str, Tensor], atoms: Tensor) -> _Encoder:
    """Return the linear map of an encoder.

    Raises:
        UserError: if it is none.
    """
    names = {name.removeprefix(_ENCODER) for name in tensors if name.startswith(_ENCODER)}
    if not names:
        raise UserError("it has no encoder (identity), which is computed for MpSAE only")
    for prefix, reason in (
        ("attention_blocks.", "it mixes the tokens of an image (attention)"),
        ("resnet_blocks.", "it mixes the positions of an image (3x3 convolutions)"),
        ("mlp_blocks.", "it has hidden layers, so its units are not linear in the token"),
    ):
        if any(name.startswith(prefix) for name in names):
            raise UserError(f"its encoder is not computed: {reason}; only encoders of one linear layer are")
    if any(name.startswith("tied_to.") for name in names):
        return _Encoder(atoms, _optional(tensors, "encoder.bias"))
    if "weight" in names:
        return _Encoder(_matrix(tensors, "encoder.weight"), _optional(tensors, "encoder.bias"))
    if "final_block.0.weight" not in names:
        raise UserError(
            f"its encoder, with the tensors {', '.join(sorted(names))[:120]}, is none of overcomplete's linear ones"
        )
    weight = _matrix(tensors, "encoder.final_block.0.weight")
    bias = _optional(tensors, "encoder.final_block.0.bias")
    norm = {name.removeprefix("final_block.1."): name for name in names if name.startswith("final_block.1.")}
    if not norm:
        return _Encoder(weight, bias)
    if "running_mean" not in norm:
        raise UserError(
            "its encoder is not computed: it normalises the pre-activations of each token (LayerNorm), which is not "
            "linear; mlp_bn_1 and the default encoder are"
        )
    scale, shift, mean, variance = (_tensor(tensors, f"{_ENCODER}final_block.1.{name}") for name in _BATCH_NORM)
    for vector in (scale, shift, mean, variance):
        if tuple(vector.shape) != (len(weight),):
            raise UserError(
                f"a tensor of its batch normalisation has the shape {tuple(vector.shape)}, and it must be "
                f"({len(weight)},)"
            )
    factor = scale / (variance + _BATCH_NORM_EPS).sqrt()
    centred = -mean if bias is None else bias - mean
    return _Encoder(weight * factor[:, None], centred * factor + shift)


# ---- modules


class _Activation(NamedTuple):
    config: dict[str, Any]
    tensors: dict[str, Tensor] | None = None


def _relu(tensors: Mapping[str, Tensor], settings: Mapping[str, Setting], n_units: int) -> _Activation:
    return _Activation({"activation": "relu"})


def _topk(tensors: Mapping[str, Tensor], settings: Mapping[str, Setting], n_units: int) -> _Activation:
    hint = f"its top_k, which is {max(n_units // 10, 1)} if it was not set"
    return _Activation({"activation": "topk", "k": _k(settings, hint)})


def _pursuit(tensors: Mapping[str, Tensor], settings: Mapping[str, Setting], n_units: int) -> _Activation:
    return _Activation({"activation": "matching_pursuit", "k": _k(settings, "its k, which is 1 if it was not set")})


def _batchtopk(tensors: Mapping[str, Tensor], settings: Mapping[str, Setting], n_units: int) -> _Activation:
    if "threshold" not in settings:
        raise UserError(
            "a state_dict does not hold the running threshold of a BatchTopKSAE, from which its codes follow: give "
            "threshold in the settings, float(sae.running_threshold)"
        )
    return _jump(torch.full((n_units,), _number(settings, "threshold", 0.0)))


def _jumprelu(tensors: Mapping[str, Tensor], settings: Mapping[str, Setting], n_units: int) -> _Activation:
    return _jump(_tensor(tensors, "thresholds").exp())


def _jump(threshold: Tensor) -> _Activation:
    """Return a JumpReLU that keeps codes equal to the threshold, as the package does."""
    below = torch.nextafter(threshold, torch.full_like(threshold, -math.inf))
    return _Activation({"activation": "jumprelu"}, {"threshold": below})


class _Module(NamedTuple):
    activation: Callable[[Mapping[str, Tensor], Mapping[str, Setting], int], _Activation]
    setting: str | None = None
    """what the user has to say"""


_MODULES = {
    "SAE": _Module(_relu),
    "TopKSAE": _Module(_topk, "k"),
    "BatchTopKSAE": _Module(_batchtopk, "threshold"),
    "JumpSAE": _Module(_jumprelu),
    "MpSAE": _Module(_pursuit, "k"),
    "RATopKSAE": _Module(_topk, "k"),
    "RAJumpSAE": _Module(_jumprelu),
}


# ---- checked content


def _k(settings: Mapping[str, Setting], hint: str) -> int:
    k = settings.get("k")
    if k is None:
        raise UserError(f"a state_dict does not hold k: give k in the settings ({hint})")
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise UserError(f"the setting k is {str(k)[:40]!r}, and must be a positive whole number")
    return k


def _number(settings: Mapping[str, Setting], name: str, default: float) -> float:
    value = settings.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"the setting {name} is {str(value)[:40]!r}, and must be a finite number")
    return float(value)


def _tensor(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise UserError(f"its tensor {name} is missing")
    return tensors[name].float()


def _optional(tensors: Mapping[str, Tensor], name: str) -> Tensor | None:
    return tensors[name].float() if name in tensors else None


def _matrix(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    tensor = _tensor(tensors, name)
    if tensor.ndim != 2 or tensor.numel() == 0:
        raise UserError(f"its tensor {name} has the shape {tuple(tensor.shape)}, and it must be a matrix")
    return tensor
