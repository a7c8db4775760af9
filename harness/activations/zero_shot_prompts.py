"""Class names and prompt templates of zero-shot classification."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.datasets.label_sets import IMAGENET_1K, are_wordnet_ids, match_classes
from harness.errors import UserError
from methods.errors import first_line

#: Name of open_clip's lists of ImageNet prompts and class names, which OpenAI published with CLIP.
OPENAI = "openai"
#: Name of the class names of the image set.
IMAGES = "images"
#: Name of the template that the model was evaluated with.
MODEL = "model"

_EXTRA = "Install the package open_clip_torch (it is part of the extra 'clip')"


def templates_of(setting: str | Sequence[str], default: str) -> tuple[str, ...]:
    """Return the prompt templates of a setting.

    Args:
        setting: ``"model"`` (the model's own template), ``"openai"`` (the 80 of CLIP), one template, or several.
        default: the model's own template.

    Raises:
        UserError: for a template that does not have ``{}`` exactly once, none at all, or a missing package.
    """
    if setting == MODEL:
        return (default,)
    if setting == OPENAI:
        return _openai_templates()
    templates = (setting,) if isinstance(setting, str) else tuple(setting)
    if not templates:
        raise UserError('The head zero_shot needs at least one template, such as "a photo of a {}.".')
    for template in templates:
        if template.count("{}") != 1:
            raise UserError(
                f"The template {template!r} of the head zero_shot must contain {{}} once, where the class name goes. "
                f'Named sets are "{MODEL}" and "{OPENAI}".'
            )
    return templates


def class_names_of(setting: str | Sequence[str] | Mapping[str, str], classes: Sequence[str]) -> tuple[str, ...]:
    """Return one name in words for each of the ``classes`` of an image set.

    Args:
        setting: ``"images"`` (the classes' names, WordNet ids of ImageNet-1k by their first word), ``"openai"`` (CLIP's
            names of ImageNet-1k's classes), names in the order of the classes, a mapping of class to name, or the path
            of a JSON file with such a list or mapping.
        classes: class names of the image set.

    Raises:
        UserError: if a class has no name in words, or two classes have the same.
    """
    if isinstance(setting, str) and setting not in (IMAGES, OPENAI):
        setting = _read(setting)
    if setting == IMAGES:
        names = _own_names(classes)
    elif setting == OPENAI:
        names = _openai_names(classes)
    elif isinstance(setting, Mapping):
        missing = [label for label in classes if label not in setting]
        if missing:
            raise UserError(f"class_names has no name for the class {missing[0]!r} ({len(missing)} are missing).")
        names = [setting[label] for label in classes]
    else:
        names = list(setting)
        if len(names) != len(classes):
            raise UserError(f"class_names has {len(names)} names, and the images have {len(classes)} classes.")
    return _distinct([" ".join(str(name).split()) for name in names], classes)


def _distinct(names: Sequence[str], classes: Sequence[str]) -> tuple[str, ...]:
    first: dict[str, str] = {}
    for name, label in zip(names, classes, strict=True):
        if not name:
            raise UserError(f"The class {label!r} has an empty name: give one in head_settings.class_names.")
        if (other := first.setdefault(name.casefold(), label)) != label:
            raise UserError(
                f"The classes {other!r} and {label!r} have the same name {name!r}, so zero-shot classification cannot "
                "tell them apart: give them different names in head_settings.class_names."
            )
    return tuple(names)


def _own_names(classes: Sequence[str]) -> list[str]:
    """Return the class names as words; WordNet ids of ImageNet-1k become the first word of their description."""
    if classes and are_wordnet_ids(classes):
        from timm.data import ImageNetInfo

        indices = _imagenet_indices(classes)
        info = ImageNetInfo(IMAGENET_1K)
        return [info.index_to_description(index).split(",")[0] for index in indices]
    names = [" ".join(label.replace("_", " ").replace("-", " ").split()) for label in classes]
    for name, label in zip(names, classes, strict=True):
        if not any(letter.isalpha() for letter in name) or are_wordnet_ids([label]):
            raise UserError(
                f"The class {label!r} has no name in words, which zero-shot classification needs: give the names in "
                "head_settings.class_names, as a list, a mapping or a JSON file."
            )
    return names


def _imagenet_indices(classes: Sequence[str]) -> tuple[int, ...]:
    match = match_classes(classes, IMAGENET_1K)
    if match.indices is None:
        raise UserError(
            f"The classes of the images are not ImageNet-1k's ({match.reason}): give their names in words in "
            "head_settings.class_names, as a list, a mapping or a JSON file."
        )
    return match.indices


def _openai_names(classes: Sequence[str]) -> list[str]:
    try:
        from open_clip import IMAGENET_CLASSNAMES
    except ImportError as error:
        raise UserError(f'class_names = "{OPENAI}" needs the list of open_clip. {_EXTRA}.') from error
    return [str(IMAGENET_CLASSNAMES[index]) for index in _imagenet_indices(classes)]


def _openai_templates() -> tuple[str, ...]:
    try:
        from open_clip import OPENAI_IMAGENET_TEMPLATES
    except ImportError as error:
        raise UserError(f'templates = "{OPENAI}" needs the list of open_clip. {_EXTRA}.') from error
    # open_clip's templates are functions of the class name.
    return tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)


def _read(path: str) -> Sequence[str] | Mapping[str, str]:
    file = Path(path).expanduser()
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"class_names = {path!r} is neither {IMAGES!r} nor {OPENAI!r}, and no file that can be read "
            f"({error.strerror})."
        ) from error
    except ValueError as error:
        raise UserError(f"The class names in {file.name!r} are not valid JSON ({first_line(error)}).") from error
    texts = content.values() if isinstance(content, dict) else content
    if not isinstance(content, list | dict) or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{file.name!r} must hold a JSON list of names, or an object of class and name.")
    return content
