"""Image sets by spec: ``photos`` (shipped), ``folder:PATH`` (class folders), ``hf:NAME`` (Hugging Face)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import NamedTuple

from harness.datasets.base import ImageSet
from methods.errors import UserError
from methods.registry import Registry

# An entry is called with what stands after the colon of the spec ("" if there is none) and gives an ImageSet.
# Each module of this package registers what it loads, so that a new source of images is a new file here.
DATASETS: Registry[Callable[[str], ImageSet]] = Registry("dataset", "harness.datasets", package="harness.datasets")


class DatasetRow(NamedTuple):
    """One line of ``harness list datasets``."""

    name: str
    title: str
    source: str
    available: str


def names() -> list[str]:
    """All registered names, naturally sorted."""
    return DATASETS.names()


def describe() -> list[DatasetRow]:
    """What there is and whether it can be used now; reads no image.

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
    """The image set ``spec``: a registered name, with what it needs after a colon (``folder:/data/imagenet``).

    Raises:
        UserError: for an unknown name (with the nearest) or a set that cannot be had.
    """
    name, _, identifier = spec.partition(":")
    if not name:
        raise UserError(f"{spec!r} names no image set. There are {', '.join(names())}.")
    return DATASETS.get(name)(identifier)
