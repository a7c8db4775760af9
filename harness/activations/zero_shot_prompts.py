"""Class names and prompt templates of zero-shot classification."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.datasets.label_sets import IMAGENET_1K, match_classes
from harness.errors import UserError
from methods.errors import first_line

#: Name of open_clip's lists of ImageNet prompts and class names, which OpenAI published with CLIP.
OPENAI = "openai"
#: Name of the class names of the image set.
IMAGES = "images"
#: Name of the template that the model was evaluated with.
MODEL = "model"

_HOW = (
    'Give the names in head_settings.class_names: a list in the order of the classes, a table { CLASS = "words" }, a '
    'file (JSON, or one name per line), or "openai" for classes of ImageNet-1k.'
)
_WORDNET_ID = re.compile(r"(?<![^\W_])n[0-9]{8}(?![^\W_])")
_NUMBER_IN_FRONT = re.compile(r"^(\d+)[\s._-]+(?=.*[^\W\d_])")

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


def class_names_of(setting: str | Sequence[Any] | Mapping[str, Any], classes: Sequence[str]) -> tuple[str, ...]:
    """Return one name in words for each of the ``classes`` of an image set.

    Two names may be equal only in CLIP's list of ImageNet-1k, as published (``missile``, ``sunglasses``).

    Args:
        setting: ``"images"`` (the classes' names; a WordNet id becomes the first of its words), ``"openai"`` (CLIP's
            names of ImageNet-1k's classes), names in the order of the classes, a mapping of class to name, or the path
            of a file: JSON with such a list or mapping, or one name per line.
        classes: class names of the image set.

    Raises:
        UserError: if a class has no name in words, or two classes have the same.
    """
    if setting == OPENAI:
        return tuple(_openai_names(classes))
    if isinstance(setting, str) and setting != IMAGES:
        setting = _read(setting)
    if setting == IMAGES:
        names = _own_names(classes)
    elif isinstance(setting, Mapping):
        missing = [label for label in classes if label not in setting]
        if missing:
            raise UserError(
                f"class_names has no name for the class {missing[0]!r} ({len(missing)} are missing). {_HOW}"
            )
        names = [_text(setting[label], label) for label in classes]
    else:
        if len(setting) != len(classes):
            raise UserError(f"class_names has {len(setting)} names, and the images have {len(classes)} classes. {_HOW}")
        names = [_text(name, label) for name, label in zip(setting, classes, strict=True)]
    return _distinct([" ".join(name.split()) for name in names], classes)


def _text(name: Any, label: str) -> str:
    """Return the name of a class.

    Raises:
        UserError: if it is no text, empty or contains a WordNet id, as the lines of a list of ids and words do.
    """
    if not isinstance(name, str) or not name.strip():
        what = "an empty name" if isinstance(name, str) else f"the name {name!r}, which is no text"
        raise UserError(f"The class {label!r} has {what}. {_HOW}")
    if _WORDNET_ID.search(name):
        raise UserError(
            f"The class {label!r} has the name {name!r}, which contains a WordNet id: give the words alone."
        )
    return name


def _distinct(names: Sequence[str], classes: Sequence[str]) -> tuple[str, ...]:
    first: dict[str, str] = {}
    for name, label in zip(names, classes, strict=True):
        if (other := first.setdefault(name.casefold(), label)) != label:
            raise UserError(
                f"The classes {other!r} and {label!r} have the same name {name!r}, so zero-shot classification cannot "
                f"tell them apart. {_HOW}"
            )
    return tuple(names)


def _own_names(classes: Sequence[str]) -> list[str]:
    """Return the class names as words: ``_`` and ``-`` are spaces, and what follows a comma is left out.

    WordNet ids, alone or with words, become the first word of their description. Numbers in front of all names are
    removed (CUB's ``001.Black_footed_Albatross``); a number in front of some is part of them (``747-400 freighter``).
    """
    numbers = [_NUMBER_IN_FRONT.match(label) for label in classes]
    numbered = len({number[1] for number in numbers if number}) == len(classes)
    names = []
    for label, number in zip(classes, numbers, strict=True):
        if (wordnet_id := _WORDNET_ID.search(label.casefold())) is not None:
            names.append(_wordnet_word(label, wordnet_id[0]))
            continue
        text = label[number.end() :] if numbered and number else label
        name = " ".join(re.sub(r"[_-]+", " ", text.split(",")[0]).split())
        if not any(letter.isalpha() for letter in name):
            raise UserError(f"The class {label!r} has no name in words, which zero-shot classification needs. {_HOW}")
        names.append(name)
    return names


def _wordnet_word(label: str, wordnet_id: str) -> str:
    try:
        return str(_wordnet().label_name_to_description(wordnet_id).split(",")[0])
    except KeyError as error:
        raise UserError(
            f"The class {label!r} is no WordNet id of ImageNet, so it has no name in words. {_HOW}"
        ) from error


@functools.cache
def _wordnet() -> Any:
    """Return timm's words of 21,844 WordNet ids, which take 30 ms to read."""
    from timm.data import ImageNetInfo

    return ImageNetInfo(IMAGENET_1K)


def _imagenet_indices(classes: Sequence[str]) -> tuple[int, ...]:
    match = match_classes(classes, IMAGENET_1K)
    if match.indices is None:
        raise UserError(
            f'class_names = "{OPENAI}" names the classes of ImageNet-1k, and the images have others '
            f'({match.reason}): use "{IMAGES}" for the names of the images, a list, a table or a file.'
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


def _read(path: str) -> Sequence[Any] | Mapping[str, Any]:
    file = Path(path).expanduser()
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() != ".json":
            return text.rstrip().splitlines()
        content = json.loads(text)
    except OSError as error:
        raise UserError(
            f"class_names = {path!r} is neither {IMAGES!r} nor {OPENAI!r}, and no file that can be read "
            f"({error.strerror})."
        ) from error
    except ValueError as error:  # UnicodeDecodeError is one
        kind = "JSON" if file.suffix.lower() == ".json" else "UTF-8"
        raise UserError(f"The class names in {file.name!r} are not valid {kind} ({first_line(error)}).") from error
    if not isinstance(content, list | dict):
        raise UserError(f"{file.name!r} must hold a JSON list of names, or an object of class and name.")
    return content
