"""Simulated fabrics of the package conformal-clip-data: a made-up package, and the real one if it is installed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from image_folders import make_folder, names
from PIL import Image

from harness import datasets
from harness.datasets import textiles
from harness.datasets.registry import describe
from methods.errors import UserError


def package(root: Path, counts: dict[str, int]) -> Path:
    """Make a package with grey images; importing it is an error."""
    folder = root / textiles.MODULE
    for name, count in counts.items():
        (folder / textiles.FOLDER / name).mkdir(parents=True)
        for number in range(count):
            file = folder / textiles.FOLDER / name / f"textile_{number:04d}.jpg"
            Image.new("RGB", (25, 25), (number,) * 3).save(file)
    folder.mkdir(exist_ok=True)
    (folder / "__init__.py").write_text("raise RuntimeError('the package was imported')")
    return root


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder whose packages are in front of those installed."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, textiles.MODULE, raising=False)
    return tmp_path


def test_classes_are_the_folders_of_the_package(elsewhere: Path) -> None:
    package(elsewhere, {"nominal": 6, "local": 3, "global": 3, "other": 2})
    images = datasets.load("textiles")
    assert images.name == "textiles" and images.classes == ("global", "local", "nominal")
    assert np.bincount(images.labels).tolist() == [3, 3, 6] and names(images)[0] == "global/textile_0000.jpg"
    assert images.open(0).size == (25, 25) and images.class_hierarchy is None
    part = datasets.load("textiles:4")
    assert part.name == "textiles:4" and np.bincount(part.labels).tolist() == [1, 1, 2]
    with pytest.raises(UserError, match="textiles:x: give the number of images"):
        datasets.load("textiles:x")
    assert textiles.MODULE not in sys.modules


def test_a_package_without_images_is_to_be_installed_again(elsewhere: Path) -> None:
    package(elsewhere, {"nominal": 2, "local": 0})
    with pytest.raises(
        UserError, match=r"without the images of global, local\. .*--force-reinstall conformal-clip-data"
    ):
        datasets.load("textiles")


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == textiles.MODULE else find_spec(name, *rest)
    )
    with pytest.raises(UserError, match=r"'textiles' needs the package conformal-clip-data.*extra 'textiles'"):
        datasets.load("textiles")
    rows = {row.name: row.available for row in describe()}
    assert rows["textiles"] == "needs package conformal_clip_data"


@pytest.mark.skipif(importlib.util.find_spec(textiles.MODULE) is None, reason="conformal-clip-data is not installed")
def test_the_package_has_2000_fabrics() -> None:
    images = datasets.load("textiles")
    assert np.bincount(images.labels).tolist() == [500, 500, 1000]
    assert images.fingerprint == "content:2cf74eac99750e1b51c551973541aa22"
    assert {images.open(index).size for index in range(0, 2000, 250)} == {(250, 250)}


def test_the_made_up_images_are_no_class_folders_of_the_harness(tmp_path: Path) -> None:
    """The same images as a folder are another set: the names of the two differ."""
    folder = make_folder(tmp_path / "textiles", {"global": 2, "local": 2})
    assert datasets.load(f"folder:{folder}").name == "folder:textiles"
