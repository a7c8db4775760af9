"""ImageNet-1k in a local folder with the usual layout: ``train/`` and ``val/`` with one folder per class."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from harness.datasets import DATASETS, folder
from harness.datasets.base import ImageSet
from harness.datasets.split_names import Role, roles_of
from methods.errors import UserError

#: Environment variable with the path of the folder, so that suites need not name a path on one machine.
VARIABLE = "HARNESS_IMAGENET"
REMEDY = (
    f"Set {VARIABLE}=PATH to a folder with train/CLASS/*.JPEG and val/CLASS/*.JPEG (image-net.org, research terms), "
    "or give other images: --dataset folder:PATH."
)


def folder_path(identifier: str = "") -> str:
    """Return the path of the folder, from ``imagenet:PATH`` or the environment. Nothing is read.

    Raises:
        UserError: if neither gives a path.
    """
    path = identifier or os.environ.get(VARIABLE, "")
    if not path:
        raise UserError(f"The folder of ImageNet is not given: {VARIABLE} is not set. {REMEDY}")
    return path


def absent_splits(path: str) -> list[str]:
    """Return those of ``train`` and ``val`` that the folder lacks, in any spelling. No images are read."""
    folder_names = [entry.name for entry in Path(path).expanduser().glob("*") if entry.is_dir()]
    roles = set(roles_of(folder_names).values())
    names = {"train": {Role.TRAINING}, "val": {Role.VALIDATION, Role.TEST}}
    return [name for name, suitable in names.items() if not roles & suitable]


def load(identifier: str = "") -> ImageSet:
    """Load ImageNet-1k, to be probed on ``train/`` and evaluated on ``val/``.

    Raises:
        UserError: if no folder is named, or it lacks ``train/`` or ``val/``.
    """
    images = folder.load(folder_path(identifier))
    if images.predefined_split is None:
        raise UserError(f"The ImageNet folder has no train/ and val/ with class folders. {REMEDY}")
    # The fingerprint distinguishes copies; the set's name must not depend on the folder's name.
    return dataclasses.replace(images, name="imagenet")


DATASETS.add("imagenet", load, description=f"ImageNet-1k in the folder that {VARIABLE} names; imagenet:PATH")
