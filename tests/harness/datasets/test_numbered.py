"""Parts of an image set by their size."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_folders import make_folder, names

from harness import datasets
from harness.datasets.numbered import numbered
from methods.errors import UserError


def test_a_part_has_each_class_in_proportion(tmp_path: Path) -> None:
    images = datasets.load(f"folder:{make_folder(tmp_path, {'cat': 8, 'dog': 4})}")
    part = numbered(images, "6")
    assert (part.name, len(part), part.classes) == (f"{images.name}:6", 6, images.classes)
    assert part.labels.tolist() == [0, 0, 0, 0, 1, 1] and names(part) == names(numbered(images, "6"))
    assert numbered(images, "") is images is numbered(images, "12")


@pytest.mark.parametrize("wrong", ["0", "-3", "x", "1.5", "9999999999", "\u00b2"])
def test_a_wrong_number_is_refused(tmp_path: Path, wrong: str) -> None:
    images = datasets.load(f"folder:{make_folder(tmp_path, {'cat': 2, 'dog': 2})}")
    with pytest.raises(UserError, match="give the number of images after the colon"):
        numbered(images, wrong)
    with pytest.raises(UserError, match="4 images"):
        numbered(images, "5")
