"""Record of the weights of a timm model: their preprocessing and label set.

The record is that of the named tag, or the ``config.json`` beside a local checkpoint, as timm writes it for the hub.
Without either, the architecture's default record is assumed, and a note says so.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from harness.backbones.sources.base import Request
from harness.backbones.sources.timm_inputs import as_preprocessing, data_config
from methods.errors import UserError, first_line

_CONFIG = "config.json"
#: Fields that belong to the architecture; a config.json without them takes them from the architecture's record.
_STRUCTURE = ("classifier", "first_conv", "pool_size", "fixed_input_size")
#: Fields without which a config.json is no record of the preprocessing: training scripts write one as well.
_INPUT = {"input_size", "interpolation", "crop_pct", "mean", "std"}
#: Tags of timm whose last training set is ImageNet-1k, with or without a resolution: "fcmae_ft_in22k_in1k_384".
_IN1K = re.compile(r"(^|_)in1k(_\d+)?$")


class WeightsRecord(NamedTuple):
    """Record of the weights of a timm model."""

    pretrained_cfg: dict[str, Any]
    """timm's ``PretrainedCfg`` as a dictionary"""
    model_args: dict[str, Any]
    """arguments of the architecture that the weights were saved with"""
    from_file: bool = False
    """True if the record is that of a ``config.json``"""
    assumed: bool = False
    """True if nothing states that the record is that of the weights"""
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> str | None:
        """``"imagenet-1k"`` if the head's 1000 classes are ImageNet-1k's in their order, None if unknown."""
        if self.assumed or self.pretrained_cfg.get("num_classes") != 1000:
            return None
        if names := self.pretrained_cfg.get("label_names"):
            from timm.data import ImageNetInfo

            return "imagenet-1k" if list(names) == list(ImageNetInfo("imagenet-1k").label_names()) else None
        return "imagenet-1k" if _IN1K.search(str(self.pretrained_cfg.get("tag") or "")) else None


def record_of(request: Request) -> WeightsRecord:
    """Return the record of the weights that are requested.

    Raises:
        UserError: if the ``config.json`` beside the checkpoint is unreadable, of another architecture or of other
            weights than the named tag.
    """
    import timm

    name = request.identifier
    architecture, _, tag = name.partition(".")
    config = timm.get_pretrained_cfg(name)
    default = config.to_dict() if config is not None else {}
    if request.checkpoint is None:
        return WeightsRecord(default, {})
    beside = _beside(request.checkpoint, architecture, request.spec)
    if beside is None:
        return WeightsRecord(default, {}) if tag else _assumed(default, request, architecture)
    structure = {key: default[key] for key in _STRUCTURE if key in default}
    record = beside._replace(pretrained_cfg={**structure, **beside.pretrained_cfg})
    if tag:
        _require_same(record.pretrained_cfg, default, request)
        if not record.pretrained_cfg.get("tag"):  # older files have none; the rest of the record agrees
            record.pretrained_cfg["tag"] = tag
    return record


def _assumed(default: dict[str, Any], request: Request, architecture: str) -> WeightsRecord:
    assert request.checkpoint is not None
    file, tag = request.checkpoint.name, default.get("tag")
    note = (
        f"Nothing states the preprocessing of {file!r} or the classes of its head: the preprocessing of "
        f"{f'timm:{architecture}.{tag}' if tag else 'timm:' + architecture} is assumed, and the classes are unknown. "
        f"Name the tag of the weights (timm:{architecture}.TAG), or put their config.json beside the file."
    )
    return WeightsRecord(default, {}, assumed=True, notes=(note,))


def _beside(checkpoint: Path, architecture: str, spec: str) -> WeightsRecord | None:
    """Return the record in the ``config.json`` beside a checkpoint; None if it is missing or of another library."""
    from timm.models._hub import load_model_config_from_path  # no public module has it

    file = checkpoint.expanduser().absolute().with_name(_CONFIG)
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not isinstance(content.get("architecture"), str):
            return None
        cfg, named, model_args = load_model_config_from_path(file.parent)
        other, _, tag = named.partition(".")
        fields = {"tag": tag, **_known_fields(cfg)}
        if not fields.keys() >= _INPUT:
            return None
        if other == architecture:
            as_preprocessing(data_config(fields, architecture), spec)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise UserError(
            f"The {_CONFIG} beside {checkpoint.name!r} cannot be read as a configuration of timm "
            f"({first_line(error)}): correct it, or move the checkpoint to a folder without it."
        ) from error
    if other != architecture:
        raise UserError(
            f"The {_CONFIG} beside {checkpoint.name!r} is of the architecture {other}, but {spec!r} was named: use "
            f"timm:{other}, or move the checkpoint to a folder without it."
        )
    return WeightsRecord(fields, dict(model_args or {}), from_file=True)


def _known_fields(cfg: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of timm's ``PretrainedCfg``; JSON's lists become tuples."""
    from timm.models import PretrainedCfg

    names = {field.name for field in dataclasses.fields(PretrainedCfg)} - {"file", "source"}
    pairs = ((name, value) for name, value in cfg.items() if name in names and value is not None)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in pairs}


def _require_same(beside: dict[str, Any], named: dict[str, Any], request: Request) -> None:
    assert request.checkpoint is not None
    name = request.identifier
    ours, theirs = data_config(named, name), data_config(beside, name)
    differences = [
        f"{key} {theirs[key]} instead of {value}" for key, value in ours.items() if not _equal(theirs[key], value)
    ]
    if beside.get("tag") and beside["tag"] != named.get("tag"):
        differences.insert(0, f"tag {beside['tag']} instead of {named.get('tag')}")
    if differences:
        raise UserError(
            f"The {_CONFIG} beside {request.checkpoint.name!r} describes other weights than {request.spec!r}: "
            f"{', '.join(differences)}. Name the tag of the file, or none to use its {_CONFIG}."
        )


def _equal(first: Any, second: Any) -> bool:
    return bool(tuple(first) == tuple(second) if isinstance(first, (list, tuple)) else first == second)
