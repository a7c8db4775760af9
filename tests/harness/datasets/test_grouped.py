"""Sets of two levels of classes, and the clip art and stamps of Debian's packages among them."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_folders import make_folder, names

from harness import datasets
from harness.datasets import clipart, stamps
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


def test_huge_clip_art_is_left_out_by_its_header(tmp_path: Path) -> None:
    make_folder(tmp_path, {**LAYOUT, "food/drinks": TEN + 2})
    file = tmp_path / "food" / "drinks" / "0.png"
    data = file.read_bytes()
    file.write_bytes(data[:16] + (40_000).to_bytes(4, "big") + (501).to_bytes(4, "big") + data[24:])
    (tmp_path / "food" / "drinks" / "1.png").write_bytes(b"x")
    images = datasets.load(f"clipart:{tmp_path}")
    assert "food/drinks/0.png" not in names(images) and "food/drinks/1.png" in names(images)
    assert images.notes[1:] == ("Left out: drawings of more than 20 million pixels (1).",)


def test_missing_clip_art_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clipart, "DEFAULT", str(tmp_path / "absent"))
    with pytest.raises(UserError, match=r"no folder .*absent.* apt-get install openclipart-png"):
        datasets.load("clipart")


@pytest.mark.skipif(not Path(clipart.DEFAULT).is_dir(), reason="Debian's package openclipart-png is not installed")
def test_the_clip_art_of_debian() -> None:
    images = datasets.load("clipart")
    assert len(images) == 1436 and len(images.classes) == 34
    assert images.fingerprint == "content:ab3795232ce71c72a3072cc1b0424a81"


def test_stamps_are_photographs_of_things(tmp_path: Path) -> None:
    layout = {**LAYOUT, "animals/birds/cartoon": 2, "food/cartoon": 2, "animals/birds/owls": 1, "seasonal/easter": TEN}
    make_folder(tmp_path, layout)
    for name in ("0_mirror.png", "1_mirror_flip.png"):
        (tmp_path / "animals" / "bugs" / name).write_bytes((tmp_path / "animals" / "bugs" / "0.png").read_bytes())
    images = datasets.load(f"stamps:{tmp_path}")
    assert images.name == "stamps" and len(images) == 4 * TEN + 1
    assert images.classes == ("animals/birds", "animals/bugs", "food/drinks", "food/fruit")
    assert "animals/birds/owls/0.png" in names(images) and "cartoon" in images.notes[0]


def test_missing_stamps_say_how_to_install_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "DEFAULT", str(tmp_path / "absent"))
    with pytest.raises(UserError, match=r"no folder .*absent.* apt-get install tuxpaint-stamps-default"):
        datasets.load("stamps")


@pytest.mark.skipif(
    not Path(stamps.DEFAULT).is_dir(), reason="Debian's package tuxpaint-stamps-default is not installed"
)
def test_the_stamps_of_debian() -> None:
    images = datasets.load("stamps")
    assert len(images) == 231 and len(images.classes) == 10
    assert images.fingerprint == "content:181e1613c7ce6afab3b0fbf63084a508"
