"""Figure of steering: bars and patches of classes, captions, and stores that hold something else."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from figure_texts import drawn_boxes, outside, overlaps, pixels, svg_texts
from unit_store import Unit, colour, make_images, make_store, record

from results import Store, StoreError
from results.export import figure
from results.export.figures import steering as module
from results.store.steerings import SteeringRecord, record_steering

START = datetime(2026, 1, 2, tzinfo=UTC)
SETTINGS = {"amplify": ["dog"], "suppress": ["$x^2$ cat"], "alpha": 5.0, "gamma": -50.0, "nu": 3, "kappa": 2}
CLASSES = {
    "grid": 4,
    "units": [{"unit": 1}, {"unit": 2}],
    "images": [
        {
            "name": "003.png",
            "touched": [[0, 2], [5, 1]],
            "classes": [
                {"name": "dog, hound", "before": 0.02, "after": 0.5, "control": 0.03},
                {"name": "a very long name of a class " * 8, "before": 0.9, "after": 0.4, "control": 0.9},
                {"name": "nothing", "before": 0.0, "after": 0.0, "control": 0.0},
            ],
        }
    ],
}
CAPTIONS = {
    "units": [{"unit": 1}],
    "captions": [
        {"image": "004.png", "setting": "baseline", "caption": "A dog on a red motorcycle. " * 30},
        {"image": "004.png", "setting": "-{dog}", "caption": "A motorcycle with $a$ man."},
    ],
}


def made(tmp_path: Path, result: Any = CLASSES, kind: str = "classes", settings: Any = SETTINGS) -> Store:
    store = make_store(tmp_path / "r.duckdb")
    record(store, "split-1", [Unit(1, [3])], label="ELUDe")
    keep(store, result, kind, settings)
    return store


def keep(store: Store, result: Any, kind: str = "classes", settings: Any = SETTINGS, days: int = 0) -> None:
    record_steering(
        store,
        SteeringRecord(
            cell_id="split-1",
            steering=f"s{days}",
            kind=kind,
            settings=settings,
            result=result,
            steered_at=START + timedelta(days=days),
        ),
    )


def test_classes_are_bars_beside_the_image_with_its_patches(tmp_path: Path) -> None:
    store, folder = made(tmp_path), make_images(tmp_path / "pictures", [3])
    drawn = figure(store, "steering", "svg", cell="split-1", images=folder)
    texts = " ".join(svg_texts(drawn.content))
    for words in ("+ dog (x 5), - $x^2$ cat (x -50); 3 patches per unit", "dog, hound", "2.0 → 50.0 %", "random units"):
        assert words in texts, words
    assert "2 units of ELUDe on vit at fc were edited" in drawn.caption and not drawn.missing
    assert drawn.content == figure(store, "steering", "svg", cell="split-1", images=folder).content
    image = pixels(figure(store, "steering", "png", cell="split-1", images=folder, dpi=72).content)
    left, top, step = 8, 24, 30
    plain = image[top + 3 * step + 10, left + 3 * step + 10]
    assert max(abs(int(a) - b) for a, b in zip(plain, colour(3), strict=True)) <= 3
    weak, strong = (image[top + row * step + 15, left + column * step + 15] for row, column in ((1, 1), (0, 0)))
    assert int(strong[0]) > int(weak[0]) > int(plain[0]), "more units, more red"


@pytest.mark.parametrize(("result", "kind"), [(CLASSES, "classes"), (CAPTIONS, "captions")])
def test_texts_stay_inside_and_apart(tmp_path: Path, result: Any, kind: str) -> None:
    store = made(tmp_path, result, kind)
    frame, boxes = drawn_boxes(module, store, cell="split-1")
    assert not outside(frame, boxes) and not list(overlaps(boxes))


def test_captions_stand_beside_the_image(tmp_path: Path) -> None:
    store = made(tmp_path, CAPTIONS, "captions")
    drawn = figure(store, "steering", "svg", cell="split-1")
    texts = " ".join(svg_texts(drawn.content))
    assert "baseline" in texts and "-{dog}" in texts and "A motorcycle with $a$ man." in texts
    assert drawn.missing == ("004.png",) and "greedy decoding" in drawn.caption


def test_the_newest_effect_is_drawn_or_the_one_that_is_asked_for(tmp_path: Path) -> None:
    store = made(tmp_path)
    keep(store, CAPTIONS, "captions", days=1)
    assert "greedy" in figure(store, "steering", cell="split-1").caption
    assert "greedy" not in figure(store, "steering", cell="split-1", effect=2).caption
    with pytest.raises(StoreError, match="has 2 effects: there is no effect 3"):
        figure(store, "steering", cell="split-1", effect=3)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    store = make_store(tmp_path / "r.duckdb")
    record(store, "split-1", [Unit(1, [3])], label="ELUDe")
    with pytest.raises(StoreError, match="run `harness steer --cell split-1 --amplify CONCEPT --keep` first"):
        figure(store, "steering", cell="split-1")
    with pytest.raises(StoreError, match="needs a cell"):
        figure(store, "steering")
    with pytest.raises(StoreError, match="There is no folder"):
        figure(store, "steering", cell="split-1", images=tmp_path / "nowhere")


@pytest.mark.parametrize(
    "change",
    [
        lambda result: result.pop("units"),
        lambda result: result.update(grid=100_000),
        lambda result: result.update(grid="many"),
        lambda result: result.update(images=[7]),
        lambda result: result["images"][0]["classes"][0].update(after=7.0),
        lambda result: result["images"][0]["classes"][0].update(after="NaN"),
        lambda result: result["images"][0].update(touched=[[1]]),
        lambda result: result["images"][0].update(touched=[[1e400, 1]]),
        lambda result: result.update(grid=1e400),
        lambda result: result["images"][0].pop("name"),
    ],
)
def test_another_content_is_named_instead_of_drawn(tmp_path: Path, change: Any) -> None:
    result = copy.deepcopy(CLASSES)
    change(result)
    with pytest.raises(StoreError, match="is not what `harness steer --keep` writes"):
        figure(made(tmp_path, result), "steering", cell="split-1")
