"""``saev``: ``sae.pt`` of saev, one line of JSON and a pickled state_dict.

Equations and names are those of ``saev/nn`` of version 0.1.0 (2025) and of its repository until 2026 (schemas 1 to 5):
S. Stevens, W.-L. Chao, T. Berger-Wolf and Y. Su, Interpretable and Testable Vision Features via SAEs (2025).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from methods.errors import UserError
from methods.pretrained.source import PICKLED, Source, load_pickled
from methods.pretrained.weight_formats import FORMATS
from methods.pretrained.weight_formats.base import Trained, WeightsFormat, normal_form

_WEIGHTS, _CONFIG = "sae.pt", "config.json"
_TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")
_THRESHOLD = "activation.threshold"
#: Most bytes of the first line.
_LONGEST_HEADER = 1 << 16
_NEWEST_SCHEMA = 5
#: Schemas written both by versions that subtract ``b_dec`` from the input and by versions that do not -> what most did.
_AMBIGUOUS = {1: True, 2: False}


class _Header(NamedTuple):
    """First line of a file."""

    content: dict[str, Any]
    n_bytes: int

    @property
    def schema(self) -> int:
        """Number of the schema; 0 for files of version 0.1.0, which have none."""
        schema = self.content.get("schema", 0)
        if isinstance(schema, bool) or not isinstance(schema, int) or not 0 <= schema <= _NEWEST_SCHEMA:
            raise UserError(f"its schema is {str(schema)[:40]!r}, and those of saev that are read are 1 to 5")
        return schema


@FORMATS.register()
class Saev(WeightsFormat):
    """ReLU, TopK and BatchTopK autoencoders, Matryoshka ones included; BatchTopK is computed with its threshold.

    ``codes = act((x - act_mean) / act_norm W_enc + b_enc)`` and ``output = (codes W_dec + b_dec) act_norm + act_mean``.
    TopK keeps the k largest values even if they are negative. Files without a schema subtract ``b_dec`` from the input;
    those of schemas 3 to 5 do not. ``act_mean`` and ``act_norm`` are 0 and 1 unless the settings give them: saev keeps
    them in files of their own.
    """

    name = "saev"
    description = "sae.pt of saev, or a folder with it"
    proof = "checkpoints that saev itself wrote (0.1.0, schema 5), and files of the documented layout (schemas 1 to 4)"
    settings = {
        "subtract_b_dec": "schemas 1 and 2: true if b_dec is subtracted from the input",
        "threshold": "threshold of a BatchTopK autoencoder whose file has none",
        "act_mean": "name of the file in the folder with the mean of the activations",
        "act_norm": "number by which activations are divided, or the name of its file in the folder",
    }

    @classmethod
    def files_of(cls, names: Sequence[str]) -> Sequence[str]:
        return [name for name in names if name in (_WEIGHTS, _CONFIG)] if _WEIGHTS in names else ()

    def recognises(self, source: Source) -> bool:
        file = _weights(source)
        header = None if file is None else _header(file)
        return header is not None and ("d_vit" in header.content or {"schema", "cfg"} <= header.content.keys())

    def read(self, source: Source) -> Trained:
        file = _weights(source)
        header = None if file is None else _header(file)
        if file is None or header is None:
            raise UserError(f"a dictionary of saev is a file {_WEIGHTS} that starts with a line of JSON")
        tensors = _tensors(file, header.n_bytes)
        name, k = _activation(header)
        training = source.json(_CONFIG) if source.is_folder else {}
        mean, norm = _statistics(source, training, tensors["b_dec"])
        is_subtracted, notes = _subtraction(source, header, tensors["b_dec"])
        extra: dict[str, Tensor] = {}
        config: dict[str, Any] = {"activation": "relu"}
        if name == "TopK":
            config = {"activation": "signed_topk", "k": min(k, len(tensors["b_enc"]))}
        elif name == "BatchTopK":
            config = {"activation": "jumprelu"}
            extra["threshold"] = _threshold(source, tensors).clamp(min=0).expand(len(tensors["b_enc"]))
        shift = mean / norm
        dictionary = normal_form(
            encoder=tensors["W_enc"].T,
            encoder_bias=tensors["b_enc"],
            decoder=tensors["W_dec"],
            output_bias=tensors["b_dec"] + shift,
            input_bias=shift + tensors["b_dec"] if is_subtracted else shift,
            input_scale=1 / norm,
            config=config,
            activation=extra,
        )
        if header.schema == 0 and not source.is_folder:
            notes += (
                "saev 0.1.0 trains on activations that are centred and scaled unless it is told otherwise, "
                "and the file does not say. If they were, give a folder with the statistics, and the settings act_mean "
                "and act_norm.",
            )
        return Trained(dictionary, _site(training), None, notes)


def _weights(source: Source) -> Path | None:
    if source.is_folder:
        return source.file(_WEIGHTS)
    return source.path if source.path.suffix in PICKLED and source.path.is_file() else None


def _header(file: Path) -> _Header | None:
    """Return the first line of a file; None if it is no JSON object."""
    with file.open("rb") as stream:
        line = stream.readline(_LONGEST_HEADER)
    if not line.startswith(b"{") or not line.endswith(b"\n"):
        return None
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return _Header(content, len(line)) if isinstance(content, dict) else None


def _tensors(file: Path, offset: int) -> dict[str, Tensor]:
    content = load_pickled(file, offset=offset)
    if not isinstance(content, Mapping):
        raise UserError("what follows its first line is no state_dict")
    for name in _TENSORS:
        tensor = content.get(name)
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            raise UserError(f"its tensor {name} is missing")
    if unknown := sorted(str(name) for name in content if name not in (*_TENSORS, _THRESHOLD)):
        raise UserError(f"it has a tensor {unknown[0][:80]!r}, which saev does not write")
    tensors = {name: value.float() for name, value in content.items() if isinstance(value, Tensor)}
    width = tensors["W_dec"].shape[-1]
    for name, size in (("b_dec", width), ("b_enc", len(tensors["W_dec"]))):
        if tuple(tensors[name].shape) != (size,):
            raise UserError(f"its tensor {name} has the shape {tuple(tensors[name].shape)}, and it must be ({size},)")
    return tensors


def _activation(header: _Header) -> tuple[str, int]:
    """Return the name of the activation, and its k (0 for ReLU)."""
    if header.schema == 0:
        return "Relu", 0
    cfg = header.content.get("cfg")
    cfg = cfg if isinstance(cfg, dict) else {}
    name: Any = header.content.get("cls")
    settings: Any = cfg
    if header.schema > 1 or name not in ("Relu", "TopK", "BatchTopK"):
        activation = cfg.get("activation")
        activation = activation if isinstance(activation, dict) else {}
        name, settings = activation.get("cls"), activation.get("params")
    if name == "Relu":
        return "Relu", 0
    if name not in ("TopK", "BatchTopK"):
        raise UserError(f"its activation {str(name)[:40]!r} is none of Relu, TopK, BatchTopK")
    k = settings.get("top_k") if isinstance(settings, dict) else None
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise UserError(f"its top_k is {str(k)[:40]!r}, and must be a positive whole number")
    return name, k


def _threshold(source: Source, tensors: Mapping[str, Tensor]) -> Tensor:
    given = source.settings.get("threshold")
    if given is not None:
        return tensors["b_enc"].new_tensor(_number(given, "threshold"))
    if _THRESHOLD not in tensors:
        raise UserError(
            "its BatchTopK has no threshold, so its codes depend on the batch: give one, as the setting threshold"
        )
    return tensors[_THRESHOLD].flatten()


def _statistics(source: Source, training: Mapping[str, Any], like: Tensor) -> tuple[Tensor, float]:
    """Return the mean and the norm of the activations that the autoencoder was trained on."""
    given = source.settings
    data = training.get("data")
    if isinstance(data, dict) and (data.get("scale_mean") or data.get("scale_norm")):
        wanted = [f"act_{name}" for name in ("mean", "norm") if data.get(f"scale_{name}")]
        if missing := [name for name in wanted if name not in given]:
            raise UserError(
                f"its {_CONFIG} says that activations were centred or scaled by statistics that it does not hold: put "
                f"their file into the folder and name it in the setting {missing[0]}, or give {_WEIGHTS} alone to read "
                "it without them"
            )
    mean, norm = like.new_zeros(like.shape), 1.0
    if "act_mean" in given:
        mean = _tensor_of(source, given["act_mean"], "act_mean")
        if mean.shape != like.shape:
            raise UserError(f"act_mean has the shape {tuple(mean.shape)}, and it must be {tuple(like.shape)}")
    if "act_norm" in given:
        value = given["act_norm"]
        if isinstance(value, str):
            tensor = _tensor_of(source, value, "act_norm")
            value = tensor.item() if tensor.numel() == 1 else math.nan
        norm = _number(value, "act_norm")
        if norm <= 0:
            raise UserError(f"act_norm is {norm}, and must be a positive number")
    return mean, norm


def _tensor_of(source: Source, name: object, setting: str) -> Tensor:
    file = source.file(name) if isinstance(name, str) and source.is_folder and Path(name).name == name else None
    if file is None:
        raise UserError(f"{setting} is {str(name)[:60]!r}, and must be the name of a file in the folder of {_WEIGHTS}")
    tensor = load_pickled(file)
    if not isinstance(tensor, Tensor):
        raise UserError(f"{file.name}, which {setting} names, holds no tensor")
    return tensor.float()


def _subtraction(source: Source, header: _Header, b_dec: Tensor) -> tuple[bool, tuple[str, ...]]:
    """Return True if ``b_dec`` is subtracted from the input, and the notes on it."""
    given = source.settings.get("subtract_b_dec")
    if given is not None:
        if header.schema not in _AMBIGUOUS:
            raise UserError(
                "its file says whether b_dec is subtracted: the setting subtract_b_dec is for schemas 1 and 2"
            )
        if not isinstance(given, bool):
            raise UserError(f"subtract_b_dec is {str(given)[:40]!r}, and must be true or false")
        return given, ()
    if header.schema not in _AMBIGUOUS:
        return header.schema == 0, ()
    is_subtracted = _AMBIGUOUS[header.schema]
    note = (
        f"Versions of saev that write schema {header.schema} differ in whether b_dec is subtracted from the input; "
        f"it was{'' if is_subtracted else ' not'}. The setting subtract_b_dec changes it."
    )
    return is_subtracted, (note,) if bool(b_dec.any()) else ()


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{name} is {str(value)[:40]!r}, and must be a number")
    return float(value)


def _site(training: Mapping[str, Any]) -> str | None:
    """Return the block whose output was recorded; None if the configuration names none, or counts from the end."""
    data = training.get("train_data", training.get("data"))
    layer = data.get("layer") if isinstance(data, dict) else None
    return f"blocks.{layer}" if isinstance(layer, int) and not isinstance(layer, bool) and layer >= 0 else None
