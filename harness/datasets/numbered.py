"""Part of an image set of a given size: ``photos:80``, ``textiles:200``."""

from __future__ import annotations

from harness.datasets.base import ImageSet
from methods.errors import UserError


def numbered(images: ImageSet, identifier: str) -> ImageSet:
    """Return the set of ``identifier`` of the images, or all for an empty identifier.

    Each class is in proportion, and the same images are always chosen. Records of a part keep their labels and classes.

    Raises:
        UserError: if the identifier is not a positive number, or there are fewer images.
    """
    name = images.name
    if identifier and not (identifier.isdecimal() and len(identifier) < 10 and int(identifier) > 0):
        raise UserError(f"{name}:{identifier[:40]}: give the number of images after the colon, as in {name}:80.")
    if not identifier or int(identifier) == len(images):
        return images
    subset = images.split(evaluation=int(identifier)).evaluation
    return ImageSet(f"{name}:{identifier}", subset.records, images.classes)
