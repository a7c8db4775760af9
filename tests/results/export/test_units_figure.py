"""Figure of units: which neuron and images are drawn, where, and what is said when something is missing."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import app_store
import numpy as np
import pytest
from figure_texts import drawn_boxes, outside, overlaps, pixels, svg_texts
from unit_store import Unit, colour, make_images, make_store, record

from results import CellRecord, Store, StoreError
from results.export import figure
from results.export.figures import units as units_figure
from results.export.figures.unit_choice import Choice, choose
from results.export.figures.unit_layout import FRAME, TILE_GAP, Box, layout
from results.store.explanations import ExplanationRecord, record_explanations
from results.store.records import records_of

DPI = 144
PICTURES = range(60)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("pictures"), PICTURES)


def split(parents: Sequence[int], scores: Sequence[float | None] = (), n_images: int = 6) -> list[Unit]:
    """One unit per entry of `parents`, the top images of unit u from 3 u on."""
    given = dict(enumerate(scores))
    return [
        Unit(number, range(3 * number, 3 * number + n_images), given.get(number, 0.5), parent)
        for number, parent in enumerate(parents)
    ]


def choice(store: Store, cell_id: str, **options: Any) -> Choice:
    (cell,) = [cell for cell in records_of(store.cells()) if cell["cell_id"] == cell_id]
    return choose(store, cell, parent=options.get("parent"), k=options.get("k"))


def tiles_of(box: Box, content: bytes) -> list[tuple[int, int, int]]:
    """Colours at the centres of the tiles of a panel in a PNG of DPI."""
    image, scale = pixels(content), DPI / 72
    centres = [FRAME + (index + 0.5) * box.tile + index * TILE_GAP for index in range(box.images)]
    return [
        tuple(int(band) for band in image[round((box.top + down) * scale), round((box.left + right) * scale)])  # type: ignore[misc]
        for down in centres
        for right in centres
    ]


def is_near(seen: tuple[int, int, int], wanted: tuple[int, int, int]) -> bool:
    return max(abs(a - b) for a, b in zip(seen, wanted, strict=True)) <= 3


def test_the_images_of_a_neuron_and_of_its_sub_units_are_where_they_belong(tmp_path: Path, pictures: Path) -> None:
    store = make_store(tmp_path / "s.duckdb")
    record(store, "split-1", split([4, 4, 7, 4]))
    record(store, "backbone-1", [Unit(4, range(30, 50), 0.31, 4)], method="identity", label="backbone only")
    content = figure(store, "units", dpi=DPI, cell="split-1", parent=4, images=pictures, caption=False).content
    places = layout([""] * 3, "")
    assert pixels(content).shape[:2] == pytest.approx((places.height * DPI / 72, places.width * DPI / 72), abs=2)
    assert places.parent is not None
    neuron = tiles_of(places.parent, content)
    for seen, image in zip(neuron, range(30, 46), strict=True):
        assert is_near(seen, colour(image))
    for box, unit in zip(places.units, (0, 1, 3), strict=True):
        for seen, image in zip(tiles_of(box, content), range(3 * unit, 3 * unit + 4), strict=True):
            assert is_near(seen, colour(image))
    texts = svg_texts(figure(store, "units", "svg", cell="split-1", parent=4, images=pictures).content)
    assert [text for text in texts if "MS" in text][:4] == [
        "neuron 4 · MS 31.0 %",
        *(f"unit {unit} · MS 50.0 %" for unit in (0, 1, 3)),
    ]
    assert "union" not in " ".join(texts)


def test_without_the_backbone_s_cell_the_left_panel_is_the_union_by_activation(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.duckdb")
    generator = random.Random(3)
    parts = [
        Unit(unit, generator.sample(range(100), 20), 0.5, 0, strongest=generator.uniform(1, 3)) for unit in range(4)
    ]
    record(store, "split-1", parts)
    # A brute-force twin: each image with its strongest activation in any sub-unit, on the 16 images that are read.
    best: dict[int, float] = {}
    for unit in parts:
        for rank, image in enumerate(unit.images[:16]):
            best[image] = max(best.get(image, -math.inf), np.float32(unit.strongest - 0.1 * rank))
    expected = sorted(best, key=lambda image: (-best[image], image))[:16]
    chosen = choice(store, "split-1", parent=0)
    assert chosen.parent_unit is not None and [top.image for top in chosen.parent_unit.images] == expected
    assert (
        "has the union of the sub-units' top images, by activation"
        in figure(store, "units", "svg", cell="split-1", parent=0).caption
    )
    # On other images it is no reference; on these it is.
    record(store, "other-1", [Unit(0, [1], 0.5, 0)], method="identity", evaluation_fingerprint="other")
    assert choice(store, "split-1", parent=0).parent_cell is None
    record(store, "backbone-1", [Unit(0, [1, 2], 0.5, 0)], method="identity")
    reference = choice(store, "split-1", parent=0)
    assert reference.parent_cell == "backbone-1" and reference.parent_unit is not None
    assert [top.image for top in reference.parent_unit.images] == [1, 2]


def test_the_neuron_of_k_sub_units_has_the_highest_mean_score_as_a_brute_force_search_finds(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.duckdb")
    for seed in range(6):
        generator = random.Random(seed)
        parents = [generator.randrange(8) for _ in range(25)]
        # Few values, so that means are tied; some are undefined or missing.
        scores = [generator.choice([0.25, 0.5, 0.5, 0.75, math.nan, None]) for _ in parents]
        record(store, f"split-{seed}", split(parents, scores))
        families = {parent: [scores[unit] for unit, p in enumerate(parents) if p == parent] for parent in set(parents)}
        for k in sorted({len(family) for family in families.values()}):
            ranked = []
            for parent, family in families.items():
                defined = [score for score in family if score is not None and score == score]
                mean = sum(defined) / len(defined) if defined else -math.inf
                if len(family) == k:
                    ranked.append((len(family) - len(defined), -mean, parent))
            chosen = choice(store, f"split-{seed}", k=k)
            assert chosen.parent == min(ranked)[2] and len(chosen.units) == k == chosen.n_units
            assert all(unit.parent == chosen.parent for unit in chosen.units)


def test_without_a_choice_it_is_the_best_split_neuron(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.duckdb")
    record(store, "split-1", split([0, 1, 1, 2, 2], [0.9, 0.5, 0.6, 0.7, 0.6]))
    assert choice(store, "split-1").parent == 2
    record(store, "whole-1", split([0, 1, 2], [0.2, 0.4, 0.3]))
    assert choice(store, "whole-1").parent == 1
    assert "as the only unit (right) into which elude on vit" in figure(store, "units", cell="whole-1").caption


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"k": 5}, "No neuron of elude has 5 sub-units; the numbers of sub-units are 1 (1 neuron), 2 (2 neurons)."),
        ({"parent": 9}, "elude has no sub-unit of the neuron 9: it has some of 3 neurons, from 0 to 2."),
        ({"parent": 1, "k": 2}, "parent and k exclude one another"),
        ({"cell": "plain-1", "parent": 1}, "The units of SAE are no parts of neurons"),
        ({"cell": "plain-1", "k": 25}, "k 25 is not a number of units that a figure can have; use 1 to 24."),
        ({"cell": "nothing"}, "There is no cell 'nothing' in this store"),
        ({"cell": "failed-1"}, "The cell failed-1 has failed: choose one that has finished."),
        ({"cell": "empty-1"}, "The cell empty-1 has no units in this store"),
        ({"cell": "dead-1"}, "No unit of dead has an MS score"),
        ({"cell": ""}, "The figure of units needs a cell: its id, or the name of a row. Available: "),
        ({"site": "conv"}, "No cell of this store has these: site conv."),
        ({"images": Path("/no/such/folder")}, "There is no folder '/no/such/folder' of images"),
    ],
)
def test_what_cannot_be_drawn_is_said(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    store = make_store(tmp_path / "s.duckdb")
    record(store, "split-1", split([0, 1, 1, 2, 2]))
    record(store, "plain-1", [Unit(0, [1])], method="topk_sae", label="SAE")
    record(store, "dead-1", [Unit(0, [1], alive=False)], method="topk_sae", label="dead")
    for cell_id, status in (("failed-1", "failed"), ("empty-1", "finished")):
        cell = CellRecord(cell_id=cell_id, status=status, backbone="vit", site="fc", method="elude", label="empty")
        store.record(cell, [])
    with pytest.raises(StoreError) as caught:
        figure(store, "units", **{"cell": "split-1", **options})
    assert sentence in str(caught.value)


def test_the_units_of_a_method_without_neurons_are_the_best_ones(tmp_path: Path, pictures: Path) -> None:
    store = make_store(tmp_path / "s.duckdb")
    scores = {0: 0.3, 1: math.nan, 2: 0.8, 3: 0.8, 4: 0.99, 5: 1.0, 6: 0.9, 7: None}
    chosen = [
        # Unit 4 is dead, and unit 5 is active on four images only.
        Unit(unit, range(unit, unit + (4 if unit == 5 else 12)), score, alive=unit != 4)
        for unit, score in scores.items()
    ]
    record(store, "sae-1", chosen, method="topk_sae", label="SAE")
    for k, expected in ((3, (6, 2, 3)), (8, (6, 2, 3, 0, 5))):
        best = choice(store, "sae-1", k=k)
        assert tuple(unit.number for unit in best.units) == expected and best.parent is None
    drawn = figure(store, "units", dpi=DPI, cell="SAE", k=3, images=pictures, caption=False)
    places = layout([""] * 3, None)
    assert places.parent is None and len({box.top for box in places.units}) == 1, "one row"
    for box, unit in zip(places.units, (6, 2, 3), strict=True):
        assert is_near(tiles_of(box, drawn.content)[3], colour(unit + 3))
    assert drawn.caption.startswith("The 3 units with the highest MS scores of SAE on vit at fc, token seed 42")
    # The neurons of the backbone are units without a parent, too.
    record(store, "backbone-1", split([0, 1, 2], n_images=12), method="identity", label="backbone only")
    assert choice(store, "backbone-1").parent is None


def test_inactive_images_are_left_out_and_an_undefined_score_is_named(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.duckdb")
    parts = [
        Unit(0, range(6), math.nan, 3, strongest=0.25),
        Unit(1, range(6), 0.25, 3, strongest=0.0),
        Unit(2, [], 0.5, 3),
    ]
    record(store, "split-1", parts)
    record(store, "unmeasured-1", [Unit(5, range(6), None, 3)])
    drawn = choice(store, "split-1", parent=3)
    assert [len(unit.images) for unit in drawn.units] == [3, 0, 0]
    texts = svg_texts(figure(store, "units", "svg", cell="split-1", parent=3).content)
    assert "unit 0 · MS undefined" in texts and "unit 1 · MS 25.0 %" in texts and texts.count("not active") == 2
    texts = svg_texts(figure(store, "units", "svg", cell="unmeasured-1", parent=3).content)
    assert "unit 5" in texts and "MS" not in " ".join(texts)


def test_a_missing_file_is_a_grey_tile_with_its_name(tmp_path: Path, pictures: Path) -> None:
    names = [f"{image:03d}.png" for image in range(100)]
    names[:4] = ["000.png", "../secret.png", "a_rather_long_name_of_an_image_file_in_a_folder.jpeg", "broken.png"]
    (tmp_path / "secret.png").write_bytes((pictures / "001.png").read_bytes())
    folder = make_images(tmp_path / "pictures", [0])
    (folder / "broken.png").write_text("no image")
    store = make_store(tmp_path / "s.duckdb", names=names)
    record(store, "split-1", [Unit(0, range(4), 0.5, 0)])
    drawn = figure(store, "units", dpi=DPI, cell="split-1", images=folder, caption=False)
    assert set(drawn.missing) == {*names[1:4]}
    colours = tiles_of(layout([""], "").units[0], drawn.content)
    assert is_near(colours[0], colour(0))
    corner = layout([""], "").units[0]
    x, y = corner.left + FRAME + corner.tile + TILE_GAP + 2, corner.top + FRAME + 2
    assert is_near(tuple(pixels(drawn.content)[round(2 * y), round(2 * x)].tolist()), (217, 217, 217))
    texts = svg_texts(figure(store, "units", "svg", cell="split-1", images=folder).content)
    assert "../secret.png" in texts and "broken.png" in texts and "000.png" not in texts
    # A long name is broken into lines that lose no letter.
    assert "".join(texts).count(names[2]) >= 1
    assert "Grey: the file was not found or cannot be read." in " ".join(texts)
    frame, boxes = drawn_boxes(units_figure, store, cell="split-1", images=folder)
    assert not outside(frame, boxes) and not list(overlaps(boxes))


def test_an_image_that_the_store_does_not_name_is_its_number(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.duckdb", n_images=1)
    record(store, "split-1", [Unit(0, [77], 0.5, 0)])
    assert figure(store, "units", cell="split-1").missing == ("image 77",)


def test_more_sub_units_than_panels_are_cut_to_the_best_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.duckdb")
    generator = random.Random(0)
    scores = [generator.random() for _ in range(30)]
    record(store, "split-1", [Unit(unit, [unit], scores[unit], 0) for unit in range(30)])
    drawn = choice(store, "split-1", parent=0)
    best = sorted(range(30), key=lambda unit: -scores[unit])[:24]
    assert [unit.number for unit in drawn.units] == sorted(best) and drawn.n_units == 30
    assert "the 24 of its 30 sub-units with the highest MS scores" in figure(store, "units", cell="split-1").caption


def test_labels_are_concepts_of_the_most_reliable_judge_or_classes(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.duckdb", classes=["dog", "dog", "dog", "cat"])
    record(store, "split-1", [Unit(unit, range(4 * unit, 4 * unit + 9), 0.5, 0) for unit in range(2)])
    texts = svg_texts(figure(store, "units", "svg", cell="split-1").content)
    assert texts.count("dog (7/9)") == 2 and "the commonest class among" in " ".join(texts)
    rows = [("a", 0, "a ball", 0.6), ("b", 0, "round things", 0.9), ("c", 0, "wheels", None), ("a", 1, None, 0.7)]
    concepts = [
        ExplanationRecord(
            cell_id="split-1", unit=unit, judge=judge, prompt_version="1", images=4, concept=concept,
            balanced_accuracy=accuracy,
        )
        for judge, unit, concept, accuracy in rows
    ]  # fmt: skip
    record_explanations(store, "split-1", ["a", "b", "c"], "1", 4, concepts, [], replaces=[])
    texts = svg_texts(figure(store, "units", "svg", cell="split-1").content)
    assert "round things" in texts and not {"a ball", "wheels", "dog (7/9)"} & set(texts)
    assert "In bold: concepts named by a judge." in " ".join(texts)


def test_heat_maps_are_drawn_where_the_store_has_them(tmp_path: Path) -> None:
    store = app_store.make_store(tmp_path / "s.duckdb")
    folder = app_store.make_images(tmp_path / "pictures")
    options: dict[str, Any] = {"cell": "elude-42", "parent": 0, "images": folder}
    plain, heat = (figure(store, "units", dpi=DPI, heat=heat, **options) for heat in (False, True))
    assert "Heat maps" not in plain.caption and plain.content != heat.content
    for words in ("Heat maps: where the unit is active", "Magenta frames: the token", "Tags: the largest activation"):
        assert words in heat.caption
    sizes = {
        pixels(figure(store, "units", heat=heat, caption=False, **options).content).shape for heat in (False, True)
    }
    assert len(sizes) == 1


def test_shipped_photographs_are_credited_and_others_are_not(tmp_path: Path) -> None:
    photos = Path(__file__).parents[3] / "harness" / "datasets" / "photos"
    names = sorted(file.name for file in photos.glob("*.jpg"))[:8]
    store = make_store(tmp_path / "s.duckdb", n_images=8, names=names)
    record(store, "split-1", [Unit(0, range(4), 0.5, 0)], dataset="photos")
    record(store, "split-2", [Unit(0, range(4), 0.5, 0)], dataset="folder:mine")
    drawn = figure(store, "units", "svg", cell="split-1")
    assert drawn.missing == () and drawn.credits.startswith("Photographs: ")
    assert [name in drawn.credits for name in names] == [True] * 4 + [False] * 4
    assert "GPL-3" in drawn.credits and "Photographs:" in " ".join(svg_texts(drawn.content))
    assert "Photographs:" not in " ".join(
        svg_texts(figure(store, "units", "svg", cell="split-1", caption=False).content)
    )
    other = figure(store, "units", "svg", cell="split-2")
    assert len(other.missing) == 4 and other.credits == ""


def test_a_smoke_test_is_marked(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.duckdb")
    record(store, "split-1", split([0, 0]), suite="demo-tiny")
    assert figure(store, "units", cell="split-1").caption.startswith("Scale tiny: figures are meaningless. Neuron 0")


@pytest.mark.parametrize("has_parent", [True, False])
def test_panels_lie_on_the_page_without_overlap(has_parent: bool) -> None:
    for n in range(1, 25):
        labels = ["a label of several words that does not fit on one line"] * n
        places = layout(labels, "dogs" if has_parent else None)
        boxes = [*([places.parent] if places.parent else []), *places.units]
        assert places.width <= 504 + 1e-6 and (places.parent is not None) == has_parent
        for number, box in enumerate(boxes):
            title = 7 * 1.25 * len(box.label)
            assert box.tile > 20 and box.left > 0 and box.top - title > 0
            assert box.left + box.side <= places.width and box.top + box.side <= places.height
            for other in boxes[number + 1 :]:
                is_beside = box.left + box.side <= other.left or other.left + other.side <= box.left
                above, below = sorted((box, other), key=lambda each: each.top)
                assert is_beside or above.top + above.side < below.top - 7 * 1.25 * len(below.label)
        if has_parent and n > 1 and places.parent:
            second_row = sorted({box.top for box in places.units})[1]
            assert places.parent.top + places.parent.side == pytest.approx(second_row + places.units[0].side)
