"""Drawings of OpenMoji: a made-up package without and with resvg, and what a damaged one is answered."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import datasets
from harness.datasets import openmoji
from harness.datasets.base import BrokenImageError
from harness.datasets.grouped import FEWEST_IMAGES
from methods.errors import UserError

HAS_RESVG = importlib.util.find_spec(openmoji.MODULE) is not None
RED = (
    '<svg id="emoji" viewBox="0 0 72 72" xmlns="http://www.w3.org/2000/svg">'
    '<rect x="18" y="18" width="36" height="36" fill="#f00"/></svg>'
)
GROUPS = (("animals", "bird"), ("animals", "bug"), ("food", "fruit"), ("food", "drink"))


def rows(count: int = FEWEST_IMAGES) -> list[dict[str, Any]]:
    listed = [
        {"hexcode": f"{group[0].upper()}{kind.upper()}-{number:02d}", "group": group, "subgroups": kind, "skintone": ""}
        for group, kind in GROUPS
        for number in range(count)
    ]
    return [*listed, {**listed[0], "hexcode": "TONE", "skintone": 3}]


def package(root: Path, listed: Any, svg: str = RED) -> Path:
    (root / "data").mkdir(parents=True, exist_ok=True)
    (root / openmoji.LIST).write_text(json.dumps(listed))
    (root / openmoji.FOLDER).mkdir(parents=True, exist_ok=True)
    for row in listed if isinstance(listed, list) else ():
        if isinstance(row, dict) and str(row.get("hexcode", "")).isprintable():
            name = str(row["hexcode"]).replace("/", "") + ".svg"
            (root / openmoji.FOLDER / name).write_text(svg)
    return root


@pytest.fixture
def any_resvg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a module of that name be found if resvg is not installed; it draws nothing."""
    if not HAS_RESVG:
        module = types.ModuleType(openmoji.MODULE)
        module.__spec__ = importlib.util.spec_from_loader(openmoji.MODULE, None)
        monkeypatch.setitem(sys.modules, openmoji.MODULE, module)


@pytest.mark.usefixtures("any_resvg")
def test_subgroups_are_classes_and_groups_their_parents(tmp_path: Path) -> None:
    images = datasets.load(f"openmoji:{package(tmp_path, rows())}")
    assert images.name == "openmoji" and images.classes == ("animals/bird", "animals/bug", "food/drink", "food/fruit")
    assert len(images) == 4 * FEWEST_IMAGES
    assert images.class_hierarchy is not None and images.class_hierarchy.parents == ("animals", "food")
    assert images.notes == ("Left out: 1 variants of drawings with another skin tone.",)


@pytest.mark.usefixtures("any_resvg")
@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ({}, "must be a list of objects"),
        ([], "must be a list of objects"),
        ([1], "must be a list of objects"),
        ([{"hexcode": "../../secret", "group": "a", "subgroups": "b"}], "letters, digits and hyphens"),
        ([{"hexcode": "1F600", "group": "a\x1b", "subgroups": "b"}], "letters, digits and hyphens"),
        ([{"hexcode": "1F600", "group": "a"}], "letters, digits and hyphens"),
        ([{"hexcode": 7, "group": "a", "subgroups": "b"}], "letters, digits and hyphens"),
        (rows(2), "openmoji has too few images"),
    ],
)
def test_a_damaged_list_is_one_sentence(tmp_path: Path, listed: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        datasets.load(f"openmoji:{package(tmp_path, listed)}")
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


@pytest.mark.usefixtures("any_resvg")
def test_a_missing_or_unreadable_package_is_named(tmp_path: Path) -> None:
    for spec in ("openmoji", "openmoji:", f"openmoji:{tmp_path}"):
        with pytest.raises(UserError, match=r"no data/openmoji\.json .* npm install openmoji"):
            datasets.load(spec)
    for text in (b"[", b"\xff\xfe", b"[" * 100_000):
        package(tmp_path, rows())
        (tmp_path / openmoji.LIST).write_bytes(text)
        with pytest.raises(UserError, match=r"openmoji\.json of OpenMoji cannot be read"):
            datasets.load(f"openmoji:{tmp_path}")


def test_missing_resvg_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == openmoji.MODULE else find_spec(name, *rest)
    )
    with pytest.raises(UserError, match=r"'openmoji' needs the package resvg-py.*extra 'drawings'"):
        datasets.load(f"openmoji:{tmp_path}")


@pytest.mark.parametrize(
    "element",
    [
        '<image href="/etc/hostname"/>',
        '<svg:image xlink:href="x.png"/>',
        '< IMAGE href="x.png"/>',
        '<use width="3" xlink:href="other.svg#a"/>',
        '<!ENTITY a "b">',
    ],
)
@pytest.mark.usefixtures("any_resvg")
def test_a_drawing_that_includes_files_is_refused(element: str) -> None:
    with pytest.raises(OSError, match="includes other files"):
        openmoji.draw(RED.replace("</svg>", element + "</svg>").encode())


@pytest.mark.skipif(not HAS_RESVG, reason="resvg-py is not installed")
def test_drawings_are_on_white_in_a_fixed_size(tmp_path: Path) -> None:
    images = datasets.load(f"openmoji:{package(tmp_path, rows())}")
    image = images.open(0)
    assert image.size == (openmoji.SIDE, openmoji.SIDE)
    assert image.getpixel((0, 0)) == (255, 255, 255) and image.getpixel((128, 128)) == (255, 0, 0)
    is_red = (np.asarray(image) == (255, 0, 0)).all(axis=2)
    assert is_red.mean() == pytest.approx(0.25, rel=0.02)
    fingerprint = images.fingerprint
    package(tmp_path, rows(), RED.replace("#f00", "#0f0"))
    assert datasets.load(f"openmoji:{tmp_path}").fingerprint != fingerprint == images.fingerprint


@pytest.mark.skipif(not HAS_RESVG, reason="resvg-py is not installed")
@pytest.mark.parametrize("svg", ["", "<svg", "no drawing", "<p/>"])
def test_a_broken_drawing_is_a_broken_image(tmp_path: Path, svg: str) -> None:
    images = datasets.load(f"openmoji:{package(tmp_path, rows(), svg)}")
    with pytest.raises(BrokenImageError, match="the drawing is no SVG"):
        images.open(0)
    assert len(images.contents.unreadable) == len(images)


def test_internal_references_are_allowed() -> None:
    svg = RED.replace("</svg>", '<use href="#emoji"/></svg>').encode()
    assert openmoji._INCLUDING.search(svg) is None
