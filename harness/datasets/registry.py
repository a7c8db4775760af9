"""Registry of image sets by spec: ``photos`` (shipped), ``folder:PATH`` (class folders), ``hf:NAME`` (Hugging Face)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

from harness.datasets.base import ImageSet
from methods.errors import UserError
from methods.plugin_calls import calling
from methods.registry import Registry

# An entry is called with the part of the spec after the colon ("" if there is none) and returns an ImageSet.
# Each module of this package registers its own loader, so a new source of images is a new file here.
DATASETS: Registry[Callable[[str], ImageSet]] = Registry("dataset", "harness.datasets", package="harness.datasets")


names = DATASETS.names


class DatasetRow(NamedTuple):
    """Row of ``harness list datasets``."""

    name: str
    title: str
    source: str
    available: str


def describe() -> list[DatasetRow]:
    """List the registered image sets and their current availability. No image is read.

    ``available`` is ``"yes"``, ``"needs package X"`` or ``"broken: ..."`` for a plugin that failed to load.
    """
    rows = []
    for entry in DATASETS:
        missing = [package for package in entry.requires if importlib.util.find_spec(package) is None]
        available = f"needs package {', '.join(missing)}" if missing else "yes"
        rows.append(DatasetRow(entry.name, entry.description, entry.source, available))
    for plugin in DATASETS.broken.values():
        rows.append(DatasetRow(plugin.name, "", plugin.source, f"broken: {plugin.reason}"))
    return rows


def load(spec: str) -> ImageSet:
    """Load the image set ``spec``: a registered name, optionally with an identifier (``folder:/data/imagenet``).

    Raises:
        UserError: for an unknown name (the message names the nearest) or a set that cannot be obtained.
    """
    name, _, identifier = spec.partition(":")
    if not name:
        raise UserError(f"{spec!r} names no image set. There are {', '.join(names())}.")
    load_set = DATASETS.get(name)
    with calling(DATASETS, name):
        images: Any = load_set(identifier)
    if not isinstance(images, ImageSet):
        raise UserError(f"The dataset {name!r} gives a {type(images).__name__}; its function must return an ImageSet.")
    return images
