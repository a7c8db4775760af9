"""Sets of two levels of classes, and the drawings of Debian's clip art among them."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_folders import make_folder, names

from harness import datasets
from harness.datasets import clipart
from harness.datasets.grouped import FEWEST_IMAGES, GroupedImage, grouped
from methods.errors import UserError

TEN = FEWEST_IMAGES
LAYOUT = {"animals/birds": TEN, "animals/bugs": TEN, "food/fruit": TEN, "food/drinks": TEN}


def of(layout: dict[str, int]) -> list[GroupedImage]:
    return [
        GroupedImage(f"{key}/{number:02d}", Path(key, str(number)), *key.split("/"))
        for key, count in layout.items()
        for number in range(count)
    ]


def test_groups_are_the_parents_of_their_classes() -> None:
    images = grouped("drawings", list(reversed(of(LAYOUT))))
    assert images.classes == ("animals/birds", "animals/bugs", "food/drinks", "food/fruit")
    assert images.class_hierarchy is not None and images.class_hierarchy.parents == ("animals", "food")
    assert images.class_hierarchy.parent_of == (0, 0, 1, 1) and images.notes == ()
    assert names(images) == sorted(names(images)) and len(images) == 4 * TEN
    assert all(images.classes[r.label] == r.name.rpartition("/")[0] for r in images.records if r.label is not None)


def test_small_classes_are_left_out_with_a_note() -> None:
    images = grouped("drawings", of({**LAYOUT, "food/dairy": TEN - 1, "tools/saws": 1}), notes=("First.",))
    assert len(images.classes) == 4
    assert images.notes == ("First.", f"Left out: 2 classes of fewer than {TEN} images ({TEN} in all).")


@pytest.mark.parametrize(
    "layout", [{}, {"a/b": TEN, "a/c": TEN}, {"a/b": TEN, "c/d": TEN}, {**LAYOUT, "food/fruit": 3}]
)
def test_too_few_groups_are_refused(layout: dict[str, int]) -> None:
    with pytest.raises(UserError, match="drawings has too few images in groups of classes"):
        grouped("drawings", of(layout))


def test_clip_art_has_the_folders_of_the_package_as_classes(tmp_path: Path) -> None:
    make_folder(tmp_path, {**LAYOUT, "animals": 2, "food/fruit/exotic": 2, "shapes/stars": TEN, "unsorted": TEN})
    (tmp_path / "food" / "drinks" / "link.png").symlink_to(tmp_path / "animals" / "birds" / "0.png")
    (tmp_path / "food" / "drinks" / "note.txt").write_text("x")
    images = datasets.load(f"clipart:{tmp_path}")
    assert images.name == "clipart" and images.classes == ("animals/birds", "animals/bugs", "food/drinks", "food/fruit")
    assert len(images) == 4 * TEN + 2 and "food/fruit/exotic/1.png" in names(images)
    assert "shapes" in images.notes[0] and images.open(0).size[1] == 10
    assert images.class_hierarchy is not None and images.class_hierarchy.parent_of == (0, 0, 1, 1)


def test_missing_clip_art_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clipart, "DEFAULT", str(tmp_path / "absent"))
    with pytest.raises(UserError, match=r"no folder .*absent.* apt-get install openclipart-png"):
        datasets.load("clipart")


@pytest.mark.skipif(not Path(clipart.DEFAULT).is_dir(), reason="Debian's package openclipart-png is not installed")
def test_the_clip_art_of_debian() -> None:
    images = datasets.load("clipart")
    assert len(images) == 1447 and len(images.classes) == 34
    assert images.fingerprint == "content:f477eae79bd36c378407aaf02ed49917"
