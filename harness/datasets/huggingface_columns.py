"""Columns of a Hugging Face data set that hold its images and labels."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from harness.datasets.split_names import join
from methods.errors import UserError

#: Usual names of columns: the first one that exists is taken if several columns have a suitable type.
IMAGE_NAMES = ("image", "img", "picture", "photo", "images", "jpg", "jpeg", "png", "webp")
LABEL_NAMES = (
    "label", "labels", "fine_label", "class", "class_label", "target", "category", "cls", "class_name", "label_name",
    "class_id", "label_id",
)  # fmt: skip


class Columns(NamedTuple):
    """Chosen columns; ``label`` is None if the images have no labels."""

    image: str
    label: str | None
    notes: tuple[str, ...] = ()
    """sentences about what was chosen"""


def choose_columns(
    features: Mapping[str, Any], title: str, *, image: str | None = None, label: str | None = None
) -> Columns:
    """Choose the columns of a data set ``title`` with the given ``features``.

    The image column is the one of type Image; of several, the one with a usual name. The label column is the one of
    type ClassLabel; of several, the one with a usual name. Without one, it is the column with a usual name that holds
    texts, integers or truth values.

    Args:
        image: name of the image column, if the user gives it.
        label: likewise of the label column.

    Raises:
        UserError: if there is no image column, the choice is ambiguous, or a given column has another type.
    """
    import datasets

    images = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    if not images:
        raise UserError(f"The data set {title!r} has no image column: its columns are {', '.join(features)}.")
    class_labels = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    plain = [name for name, kind in features.items() if name.lower() in LABEL_NAMES and _is_plain(kind)]
    usable = [name for name, kind in features.items() if name in class_labels or _is_plain(kind)]
    image_column = _given("image", image, images, title) or _one_of(images, IMAGE_NAMES, "image", title)
    label_column = _given("label", label, usable, title)
    if label_column is None and (class_labels or plain):
        label_column = _one_of(class_labels or plain, LABEL_NAMES, "label", title)
    notes = []
    if len(images) > 1:
        notes.append(f"Images: column {image_column} of {join(images)}.")
    if label_column is None:
        notes.append(f"No label column among {join(features, 8)}; give one with ?label=COLUMN.")
    elif len(class_labels or plain) > 1 or not class_labels:
        notes.append(f"Labels: column {label_column} of {join(class_labels or usable)}.")
    return Columns(image_column, label_column, tuple(notes))


def _given(kind: str, name: str | None, suitable: list[str], title: str) -> str | None:
    if name is not None and name not in suitable:
        raise UserError(
            f"{name!r} is no {kind} column of the data set {title!r}. There are {join(suitable) or 'none'}."
        )
    return name


def _one_of(columns: list[str], usual: tuple[str, ...], kind: str, title: str) -> str:
    """Return the only one of ``columns``, or the one whose name comes first among the ``usual`` names."""
    if len(columns) == 1:
        return columns[0]
    named = sorted((usual.index(name.lower()), name) for name in columns if name.lower() in usual)
    if not named:
        raise UserError(
            f"The data set {title!r} has several {kind} columns ({join(columns)}); name one: hf:NAME?{kind}="
            f"{columns[0]}."
        )
    return named[0][1]


def _is_plain(kind: Any) -> bool:
    """Return True if a column holds single texts, integers or truth values."""
    dtype = str(getattr(kind, "dtype", ""))
    return type(kind).__name__ == "Value" and (dtype in ("string", "large_string", "bool") or "int" in dtype)


def read_labels(
    splits: Mapping[str, Any], columns: Columns, title: str
) -> tuple[tuple[str, ...], dict[str, list[int | None]]]:
    """Return the class names, and the class index of every row of each split, None without a label.

    The classes of a ClassLabel column are its names; splits that number the same names differently are brought to the
    numbers of the first one. The classes of other columns are their values, sorted; texts are brought into the Unicode
    form NFC. Negative numbers stand for hidden labels.

    Raises:
        UserError: if a split lacks the column.
    """
    if columns.label is None:
        return (), {name: [None] * len(part) for name, part in splits.items()}
    values = {name: _values(name, part, columns.label, title) for name, part in splits.items()}
    names_of = {name: getattr(part.features[columns.label], "names", None) for name, part in splits.items()}
    named = [names for names in names_of.values() if names is not None]
    if len(named) == len(splits):
        classes = tuple(dict.fromkeys(label for names in named for label in names))
        position = {label: index for index, label in enumerate(classes)}
        number = {name: [position[label] for label in names_of[name] or ()] for name in splits}
        for name, column in values.items():
            if (largest := max((v for v in column if v is not None), default=-1)) >= len(number[name]):
                raise UserError(
                    f"The column {columns.label!r} of the data set {title!r} has the label {largest} in the split "
                    f"{name!r}, and names for {len(number[name])} classes only: correct the labels, or give another "
                    "column with ?label=COLUMN."
                )
        return classes, {
            name: [None if v is None or v < 0 else number[name][int(v)] for v in column]
            for name, column in values.items()
        }
    distinct = _sorted({_plain(value) for column in values.values() for value in column} - {None})
    index_of = {value: index for index, value in enumerate(distinct)}
    labels = {name: [index_of.get(_plain(value)) for value in column] for name, column in values.items()}
    return tuple(str(value) for value in distinct), labels


def _values(name: str, part: Any, column: str, title: str) -> list[Any]:
    if column not in part.features:
        raise UserError(f"The split {name!r} of the data set {title!r} has no column {column!r}.")
    return list(part.select_columns([column])[:][column])


def _plain(value: Any) -> Any:
    """Return a value as it is compared: texts in the form NFC, None for a hidden label."""
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value).strip() or None
    return None if value is None or value < 0 else value


def _sorted(values: Iterable[Any]) -> list[Any]:
    return sorted(values, key=lambda value: (isinstance(value, str), value))
