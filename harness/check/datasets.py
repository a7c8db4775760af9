"""Contract of an image set (docs/plugins.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.check.finding import Finding, NotApplicable, other_globals, require, run_all
from harness.datasets.base import BrokenImageError, ImageSet
from harness.errors import UserError

#: Number of images that are opened, spread over the set.
OPENED = 40
#: Number of images that are checked of a larger set, so that a check of ImageNet ends within a minute.
PART = 2000

Load = Callable[[str], ImageSet]


@dataclass
class CheckedDataset:
    """Registered image set, which the check ``loads`` loads twice."""

    name: str
    load: Load
    identifier: str
    images: ImageSet = field(init=False)
    again: ImageSet = field(init=False)

    @property
    def part(self) -> np.ndarray:
        """Positions of at most ``PART`` images, spread over the set."""
        return _spread(len(self.images), PART)


def check_dataset(name: str, load: Load, identifier: str = "") -> list[Finding]:
    """Check a registered image set. ``identifier`` is the part of the spec after the colon, as in ``folder:PATH``."""
    return run_all(CHECKS, CheckedDataset(name, load, identifier), required=(loads,))


def loads(of: CheckedDataset) -> str:
    """Check that the registered function returns an image set with images."""
    loaded = []
    for seed in (1, 2):
        with other_globals(seed):
            images = of.load(of.identifier)
        require(
            isinstance(images, ImageSet),
            f"The registered function returns a {type(images).__name__}; it must return an ImageSet.",
        )
        loaded.append(images)
    of.images, of.again = loaded
    require(len(of.images) > 0, "The set has no images.")
    return f"{len(of.images)} images in {len(of.images.classes)} classes"


def names(of: CheckedDataset) -> None:
    """Check that images are sorted by unique names without paths of this machine, and that the set's name is valid.

    The set's name must be its registered name, followed after a colon by no path of this machine.
    """
    image_names = [record.name for record in of.images.records]
    absolute = [name for name in [of.images.name.partition(":")[2], *image_names] if Path(name).is_absolute()]
    require(
        not absolute,
        f"{absolute[0] if absolute else ''!r} is an absolute path, which results would store; use relative names.",
    )
    head = of.images.name.partition(":")[0]
    require(
        head == of.name,
        f"The name of the set is {of.images.name!r}; it must be {of.name!r}, or {of.name}:IDENTIFIER.",
    )
    require(
        len(set(image_names)) == len(image_names),
        f"{len(image_names) - len(set(image_names))} images have the name of another one; names must be unique.",
    )
    require(
        image_names == sorted(image_names),
        "The records are not sorted by name; sort them, so that results do not depend on their order.",
    )


def labels(of: CheckedDataset) -> str:
    """Check that each label is an index into classes, or None."""
    n = len(of.images.classes)
    wrong = [record for record in of.images.records if record.label is not None and not 0 <= record.label < n]
    require(
        not wrong,
        f"{wrong[0].name if wrong else ''!r} has the label {wrong[0].label if wrong else ''}, but there are {n} "
        "classes; labels count from 0, and None means no label.",
    )
    n_labelled = len({record.label for record in of.images.records} - {None})
    if n_labelled < 2:
        raise NotApplicable("fewer than two classes are labelled: no probe can be fitted, and accuracy is skipped")
    return f"{n_labelled} classes have images"


def images_readable(of: CheckedDataset) -> str:
    """Check that images can be opened."""
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


def reader(of: CheckedDataset) -> None:
    """Check that size and head of the reader agree with read: the set's identity is computed from them."""
    for index in _spread(len(of.images), 5):
        record = of.images.records[int(index)]
        data = of.images.reader.read(record)
        require(
            isinstance(data, bytes), f"reader.read returns a {type(data).__name__}; it must return the encoded bytes."
        )
        size = of.images.reader.size(record)
        require(size == len(data), f"reader.size returns {size} for {record.name!r}, which has {len(data)} bytes.")
        require(
            of.images.reader.head(record, 10) == data[:10],
            f"reader.head returns other bytes of {record.name!r} than reader.read.",
        )


def reproducible(of: CheckedDataset) -> None:
    """Check that loading twice gives the same set."""
    require(
        of.images.records == of.again.records and of.images.classes == of.again.classes,
        "Loading the set twice gives different images or classes; seed random draws, and sort files.",
    )
    first, second = of.images.subset(of.part).fingerprint, of.again.subset(of.part).fingerprint
    require(
        first == second,
        "Loading the set twice gives other contents of the images, so finished cells would not be reused; seed random "
        "draws.",
    )


def no_duplicate_images(of: CheckedDataset) -> None:
    """Check that no image is in the set twice: one copy could be fitted on, and the other evaluated."""
    first_name: dict[bytes, str] = {}
    for index in of.part:
        record = of.images.records[int(index)]
        content = hashlib.blake2b(of.images.reader.read(record), digest_size=16).digest()
        require(
            content not in first_name,
            f"{record.name!r} and {first_name.get(content, '')!r} are the same image; remove one, because one could be "
            "fitted on and the other evaluated.",
        )
        first_name[content] = record.name


def split(of: CheckedDataset) -> str:
    """Check that the set can be split into images to fit on and images to evaluate on."""
    if of.images.predefined_split is not None:
        probing, evaluation = (set(part.tolist()) for part in of.images.predefined_split)
        both = len(probing & evaluation)
        require(not both, f"{both} images are in both parts of predefined_split; the parts must be disjoint.")
        require(bool(probing and evaluation), "One part of predefined_split is empty; both need images.")
        of.images.subset(probing), of.images.subset(evaluation)
        return f"predefined_split: {len(probing)} and {len(evaluation)} images"
    require(len(of.images) > 1, "The set has one image, which cannot be split; at least two are needed.")
    parts = of.images.split(evaluation=0.4)
    return f"no predefined_split; 60 to 40 gives {len(parts.probing)} and {len(parts.evaluation)} images"


def identifier(of: CheckedDataset) -> None:
    """Check that an unknown identifier (after the colon of the spec) is refused, not ignored."""
    try:
        images = of.load("no such identifier")
    except UserError:
        return
    require(
        images.name != of.images.name or bool(of.identifier),
        f"{of.name}:ANYTHING gives the same set as {of.name}; raise UserError for an unknown identifier.",
    )


def _spread(n: int, most: int) -> np.ndarray:
    """Return at most ``most`` of the numbers 0 to n - 1, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


#: Checks in the order in which they run. Each raises AssertionError with a sentence that explains the failure.
CHECKS: tuple[Callable[[CheckedDataset], Any], ...] = (
    loads, names, labels, images_readable, reader, reproducible, no_duplicate_images, split, identifier,
)  # fmt: skip
