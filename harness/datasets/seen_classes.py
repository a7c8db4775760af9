"""Check that a probe can predict every class of the evaluation images."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection

import numpy as np

from harness.datasets.base import DatasetSplit, ImageSet
from harness.datasets.split_names import join
from methods.errors import UserError


def require_seen_classes(split: DatasetSplit, *, unreadable: Collection[str] | None = None) -> None:
    """Raise UserError if a class of the evaluation images has no probing image: a probe could never predict it.

    Args:
        unreadable: names of images that do not count; default: the files that cannot be read from the disk.
    """
    probing = _classes(split.probing, unreadable)
    unseen = sorted(_classes(split.evaluation, unreadable) - probing)
    if not unseen:
        return
    count = f"{len(unseen)} classes" if len(unseen) > 1 else "The class"
    raise UserError(
        f"{count} of the evaluation images of {split.probing.name} ({join(map(repr, unseen))}) "
        f"{'have' if len(unseen) > 1 else 'has'} no probing image, so a linear probe cannot predict "
        f"{'them' if len(unseen) > 1 else 'it'}: {_remedy(unseen, probing)}"
    )


def _remedy(unseen: list[str], probing: set[str]) -> str:
    plain = {_plain(label): label for label in sorted(probing)}
    for label in unseen:
        if (twin := plain.get(_plain(label))) is not None:
            return f"{label!r} and {twin!r} of the probing images differ only in spelling; give both the same name."
    return (
        "add probing images of the class, remove its evaluation images, or use a backbone with a head of its own "
        "(--head own)."
    )


def _classes(images: ImageSet, unreadable: Collection[str] | None) -> set[str]:
    """Return the names of the classes that have an image which counts."""
    missing = images.contents.unreadable if unreadable is None else unreadable
    labels = images.labels
    if missing:
        readable = [record.name not in missing for record in images.records]
        labels = labels[np.array(readable, dtype=bool)]
    return {images.classes[label] for label in np.unique(labels[labels >= 0])}


def _plain(label: str) -> str:
    """Return a class name without case, separators, accents and compatibility forms of characters."""
    letters = unicodedata.normalize("NFKD", label).casefold()
    return "".join(letter for letter in letters if letter.isalnum())
