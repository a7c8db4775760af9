"""Record of an open_clip model: its architecture, activation function and preprocessing.

The record is that of the named tag, or the ``open_clip_config.json`` beside a local checkpoint, as open_clip writes it
for the hub. Without either, the preprocessing of the architecture's first tag is assumed, and a note says so.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from harness.backbones.preprocessing import Preprocessing
from harness.backbones.preprocessing_check import require_same_input
from harness.backbones.sources.base import Request
from methods.errors import UserError, first_line
from methods.registry import nearest

_CONFIG = "open_clip_config.json"
#: Largest difference of one normalised value from open_clip's, whose arithmetic is the same: rounding of float32 only.
TOLERANCE = 1e-5
#: Settings that say where weights or a vocabulary are downloaded from, or that only act in training.
_NOT_COMPUTED = {
    "timm_model_pretrained",
    "timm_drop",
    "timm_drop_path",
    "patch_dropout",
    "hf_model_pretrained",
    "hf_tokenizer_name",
    "tokenizer_kwargs",
}


class ClipRecord(NamedTuple):
    """Record of an open_clip model."""

    architecture: str
    tag: str
    """empty if none is named"""
    config: dict[str, Any]
    """open_clip's configuration of the architecture"""
    quick_gelu: bool
    """True for the activation function of OpenAI's models"""
    input: dict[str, Any]
    """settings of open_clip's ``PreprocessCfg`` without the size"""
    notes: tuple[str, ...] = ()

    def identity(self) -> dict[str, Any]:
        """Return the settings of the image tower that its weights do not show, such as its number of heads."""
        vision = {name: value for name, value in self.config["vision_cfg"].items() if name not in _NOT_COMPUTED}
        return {"vision_cfg": vision, "quick_gelu": self.quick_gelu}


def record_of(request: Request) -> ClipRecord:
    """Return the record of ``ARCH`` or ``ARCH/TAG``.

    Raises:
        UserError: for an unknown architecture or tag (the message names the nearest), if neither a tag nor a checkpoint
            states the weights, or if the ``open_clip_config.json`` beside the checkpoint is unreadable, of another
            architecture or of other weights than the named tag.
    """
    import open_clip

    architecture, slash, tag = request.identifier.partition("/")
    config = open_clip.get_model_config(architecture) if architecture in open_clip.list_models() else None
    if config is None:
        raise _unknown_architecture(request, architecture, open_clip.list_models())
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if slash and tag not in tags:
        raise UserError(f"open_clip has no weights {tag!r} for {architecture}. {nearest(tag, tags)}{_listed(tags)}")
    if not tag and request.weights and request.checkpoint is None:
        raise UserError(
            f"{request.spec!r} names no weights: write open_clip:{architecture}/TAG, or give a local file: "
            f"--checkpoint FILE. {_listed(tags)}"
        )
    quick_gelu = bool(config.get("quick_gelu"))
    record = ClipRecord(
        architecture, tag, config, quick_gelu, _input_of(architecture, tag or (tags[0] if tags else ""))
    )
    if tag:
        record = _of_tag(record)
    beside = _beside(request, record) if request.checkpoint is not None else None
    if beside is not None:
        return beside
    if request.checkpoint is None or tag:
        return record
    assumed = f"open_clip:{architecture}/{tags[0]}" if tags else "OpenAI's CLIP"
    activation = "QuickGELU" if quick_gelu else "GELU"
    note = (
        f"Nothing states the preprocessing and the activation function of {request.checkpoint.name!r}: the "
        f"preprocessing of {assumed} and the {activation} of {architecture} are assumed. Name the tag of the weights "
        f"(open_clip:{architecture}/TAG), or put their {_CONFIG} beside the file."
    )
    return record._replace(notes=(note,))


def preprocessing_of(record: ClipRecord, spec: str) -> Preprocessing:
    """Convert open_clip's settings, and check the result against open_clip's own transform.

    Raises:
        UserError: for inputs that are not square, images that are padded, and if the two transforms differ on the test
            images.
    """
    from open_clip.transform import PreprocessCfg, image_transform_v2

    size = record.config["vision_cfg"].get("image_size", 224)
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    if height != width:
        raise UserError(f"{spec!r} takes {height} x {width} px inputs: only square inputs are supported.")
    settings = PreprocessCfg(**{**record.input, "size": height})
    if settings.resize_mode == "longest":
        raise UserError(
            f"{spec!r} resizes the longer side of an image and pads the rest (resize_mode 'longest'): only 'shortest' "
            "and 'squash' are supported."
        )
    preprocessing = Preprocessing(
        size=height,
        resize=height,
        # open_clip evaluates with the bicubic filter what was trained with random ones.
        interpolation="bicubic" if settings.interpolation == "random" else settings.interpolation,
        mean=_three(settings.mean),
        std=_three(settings.std),
        fit="squash" if settings.resize_mode == "squash" else "crop",
    )
    require_same_input(preprocessing, image_transform_v2(settings, is_train=False), spec=spec, tolerance=TOLERANCE)
    return preprocessing


def hub_repository(architecture: str, tag: str) -> tuple[str, str]:
    """Return the Hugging Face repository of a tag's weights and the file in it; empty for open_clip's usual file."""
    from open_clip.pretrained import get_pretrained_cfg

    repository, _, file = str(get_pretrained_cfg(architecture, tag).get("hf_hub", "")).rpartition("/")
    return repository, file


def in_cache(identifier: str) -> bool:
    """Return True if the weights of ``ARCH/TAG`` are in this machine's Hugging Face cache. No network is used."""
    from harness.backbones.sources.hub import in_huggingface_cache

    if importlib.util.find_spec("open_clip") is None:
        return False
    architecture, _, tag = identifier.partition("/")
    repository, file = hub_repository(architecture, tag)
    files = (file,) if file else ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    return bool(repository) and in_huggingface_cache(repository, files)


def _of_tag(record: ClipRecord) -> ClipRecord:
    """Return the record with the activation function that the tag's weights were trained with.

    open_clip builds the one of the architecture's name and warns.
    """
    from open_clip.pretrained import get_pretrained_cfg

    trained = bool(get_pretrained_cfg(record.architecture, record.tag).get("quick_gelu"))
    if record.quick_gelu or not trained:
        return record
    note = (
        f"The weights {record.tag} were trained with QuickGELU: it is used in place of the GELU of "
        f"{record.architecture}."
    )
    return record._replace(quick_gelu=True, notes=(note,))


def _input_of(architecture: str, tag: str) -> dict[str, Any]:
    """Return the preprocessing of a tag; open_clip's default if the tag is empty."""
    from open_clip.pretrained import get_pretrained_cfg

    return _input_fields(get_pretrained_cfg(architecture, tag) if tag else {})


def _input_fields(settings: Mapping[str, Any]) -> dict[str, Any]:
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    fields: dict[str, Any] = merge_preprocess_dict(PreprocessCfg(), dict(settings))
    del fields["size"]
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _beside(request: Request, record: ClipRecord) -> ClipRecord | None:
    """Return the record in the ``open_clip_config.json`` beside the checkpoint, None if it is missing."""
    assert request.checkpoint is not None
    file = request.checkpoint.expanduser().absolute().with_name(_CONFIG)
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        config = content["model_cfg"]
        differing = list(_differing(config, record.config))
        settings = _input_fields(content.get("preprocess_cfg") or {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"The {_CONFIG} beside {request.checkpoint.name!r} cannot be read as a configuration of open_clip "
            f"({first_line(error)}): correct it, or move the checkpoint to a folder without it."
        ) from error
    if differing:
        raise UserError(
            f"The {_CONFIG} beside {request.checkpoint.name!r} is not that of {record.architecture}: "
            f"{', '.join(differing)} differ. Name its architecture, or move the checkpoint to a folder without it."
        )
    quick_gelu = bool(config.get("quick_gelu"))
    other = [name for name, value in settings.items() if value != record.input[name]]
    other += ["quick_gelu"] if quick_gelu != record.quick_gelu else []
    if record.tag and other:
        raise UserError(
            f"The {_CONFIG} beside {request.checkpoint.name!r} describes other weights than {request.spec!r}: "
            f"{', '.join(other)} differ. Name the tag of the file, or none to use its {_CONFIG}."
        )
    return record._replace(quick_gelu=quick_gelu, input=settings, notes=())


def _differing(config: Mapping[str, Any], named: Mapping[str, Any]) -> Iterable[str]:
    """Yield the settings of the towers in which two configurations differ, defaults filled in."""
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg

    if config["embed_dim"] != named["embed_dim"]:
        yield "embed_dim"
    for tower, cls in (("vision_cfg", CLIPVisionCfg), ("text_cfg", CLIPTextCfg)):
        first, second = (dataclasses.asdict(cls(**each[tower])) for each in (config, named))
        yield from (f"{tower}.{name}" for name in first if name not in _NOT_COMPUTED and first[name] != second[name])


def _three(values: float | Iterable[float]) -> tuple[float, float, float]:
    first, second, third = values if isinstance(values, Iterable) else (values,) * 3
    return first, second, third


def _unknown_architecture(request: Request, architecture: str, architectures: list[str]) -> UserError:
    return UserError(
        f"open_clip has no architecture {architecture!r}. {nearest(request.identifier, architectures)}Write "
        f"open_clip:ARCH/TAG; open_clip.list_pretrained() lists the pairs."
    )


def _listed(tags: list[str]) -> str:
    return f"It has {', '.join(tags)}." if tags else "There are none for this architecture."
