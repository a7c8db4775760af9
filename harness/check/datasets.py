"""Contract of an image set (docs/plugins.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.check.finding import Finding, NotApplicable, other_globals, require, run, run_all
from harness.datasets.base import BrokenImageError, ImageSet
from harness.errors import UserError

#: Number of images that are opened, spread over the set.
OPENED = 40
#: Number of images that are checked of a larger set, so that a check of ImageNet ends within a minute.
PART = 2000

Load = Callable[[str], ImageSet]


@dataclass
class Had:
    """Image set, loaded twice."""

    name: str
    identifier: str
    load: Load
    images: ImageSet
    again: ImageSet

    @property
    def part(self) -> np.ndarray:
        """Positions of at most ``PART`` images, spread over the set."""
        return _spread(len(self.images), PART)


def check_dataset(name: str, load: Load, identifier: str = "") -> list[Finding]:
    """Check a registered image set.

    Args:
        name: registered name.
        load: function from the identifier to the image set.
        identifier: the part of the spec after the colon, as in ``folder:PATH``.
    """
    made: list[ImageSet] = []

    def twice() -> str:
        for seed in (1, 2):
            with other_globals(seed):
                found = load(identifier)
            require(isinstance(found, ImageSet), f"It gives a {type(found).__name__}; it gives an ImageSet.")
            made.append(found)
        require(len(made[0]) > 0, "The set has no images.")
        return f"{len(made[0])} images in {len(made[0].classes)} classes"

    findings = [run("loads", twice)]
    if not findings[-1].ok:
        return findings
    return findings + run_all(CHECKS, Had(name, identifier, load, made[0], made[1]))


def names(of: Had) -> None:
    """Check that images are sorted by unique names without paths of this machine, and that the set's name is valid.

    The set's name must be its registered name, followed after a colon by no path of this machine.
    """
    found = [record.name for record in of.images.records]
    absolute = [name for name in [of.images.name.partition(":")[2], *found] if Path(name).is_absolute()]
    require(not absolute, f"{absolute[0] if absolute else ''!r} is a path of this machine; results would carry it.")
    head = of.images.name.partition(":")[0]
    require(
        head == of.name, f"The set calls itself {of.images.name!r}; it is {of.name!r}, with what belongs after a colon."
    )
    require(len(set(found)) == len(found), f"{len(found) - len(set(found))} images share a name with another one.")
    require(
        found == sorted(found), "The records are not sorted by name: sort them, so that results do not depend on it."
    )


def labels(of: Had) -> str:
    """Check that each label is an index into classes, or None."""
    n = len(of.images.classes)
    wrong = [record for record in of.images.records if record.label is not None and not 0 <= record.label < n]
    require(
        not wrong,
        f"{wrong[0].name if wrong else ''!r} has the label {wrong[0].label if wrong else ''}, and there are {n} "
        "classes: labels count from 0, and None stands for no label.",
    )
    known = len({record.label for record in of.images.records} - {None})
    if known < 2:
        raise NotApplicable("fewer than two classes are labelled: no probe can be fitted and accuracy is left out")
    return f"{known} classes have images"


def opens(of: Had) -> str:
    """Check that images can be read."""
    broken = []
    chosen = _spread(len(of.images), OPENED)
    for index in chosen:
        try:
            of.images.open(int(index))
        except BrokenImageError as error:
            broken.append(error)
    require(
        not broken, f"{len(broken)} of {len(chosen)} images cannot be read; the first is {broken[0] if broken else ''}."
    )
    return f"{len(chosen)} of {len(of.images)}"


def reader(of: Had) -> None:
    """Check that size and head of the reader agree with read: the set's identity is computed from them."""
    for index in _spread(len(of.images), 5):
        record = of.images.records[int(index)]
        data = of.images.reader.read(record)
        require(isinstance(data, bytes), f"reader.read gives a {type(data).__name__}; it gives the encoded bytes.")
        size = of.images.reader.size(record)
        require(size == len(data), f"reader.size says {size} for {record.name!r}, which has {len(data)} bytes.")
        require(
            of.images.reader.head(record, 10) == data[:10],
            f"reader.head gives other bytes of {record.name!r} than read.",
        )


def same_again(of: Had) -> None:
    """Check that loading twice gives the same set."""
    require(
        of.images.records == of.again.records and of.images.classes == of.again.classes,
        "Loaded twice, it has other images or classes; seed what it draws, and sort what it finds.",
    )
    one, other = of.images.subset(of.part).fingerprint, of.again.subset(of.part).fingerprint
    require(
        one == other, "Loaded twice, its images have other contents: no finished cell would be found again. Seed them."
    )


def no_twins(of: Had) -> None:
    """Check that no image is in the set twice: one copy could be fitted on, and the other evaluated."""
    met: dict[bytes, str] = {}
    for index in of.part:
        record = of.images.records[int(index)]
        content = hashlib.blake2b(of.images.reader.read(record), digest_size=16).digest()
        require(
            content not in met,
            f"{record.name!r} and {met.get(content, '')!r} are the same image: one may be fitted on and the other "
            "evaluated.",
        )
        met[content] = record.name


def split(of: Had) -> str:
    """Check that the set can be split into images to fit on and images to evaluate on."""
    if of.images.own_split is not None:
        probing, evaluation = (set(part.tolist()) for part in of.images.own_split)
        both = len(probing & evaluation)
        require(not both, f"{both} images are in both parts of its own split.")
        require(bool(probing and evaluation), "One part of its own split is empty.")
        of.images.subset(probing), of.images.subset(evaluation)
        return f"its own: {len(probing)} and {len(evaluation)} images"
    require(len(of.images) > 1, "One image cannot be divided.")
    parts = of.images.split(evaluation=0.4)
    return f"none of its own; 60 to 40 gives {len(parts.probing)} and {len(parts.evaluation)} images"


def unknown_identifier(of: Had) -> None:
    """Check that an unknown identifier (after the colon of the spec) is refused, not ignored."""
    try:
        found = of.load("no such identifier")
    except UserError:
        return
    require(
        found.name != of.images.name or bool(of.identifier),
        f"{of.name}:ANYTHING is the same as {of.name}: raise UserError for an identifier that means nothing.",
    )


def _spread(n: int, most: int) -> np.ndarray:
    """Return at most ``most`` of the numbers 0 to n - 1, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


#: Name -> check; each raises AssertionError with the sentence that explains the failure.
CHECKS: dict[str, Callable[[Had], Any]] = {
    "names": names,
    "labels": labels,
    "images open": opens,
    "reader": reader,
    "the same again": same_again,
    "no image twice": no_twins,
    "split": split,
    "identifier": unknown_identifier,
}
