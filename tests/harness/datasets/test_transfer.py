"""Evaluation on another image set: classes by name, images that were fitted on, samples, and a run with two sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import harness
from harness import datasets
from harness.datasets.base import ImageSet
from harness.datasets.transfer import transferred
from harness.errors import UserError
from harness.suites import load_suite, with_settings
from results import open_store
from results.store.further_set import FURTHER_SET


def made(folder: Path, classes: dict[str, int], seed: int) -> ImageSet:
    """A set of drawn images in class folders."""
    generator = np.random.default_rng(seed)
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return datasets.load(f"folder:{folder}")


def test_classes_correspond_by_name_and_others_have_no_label(tmp_path: Path) -> None:
    probing = made(tmp_path / "first", {"bird": 4, "dog": 4}, 0)
    other = made(tmp_path / "second", {"cat": 3, "dog": 5}, 1)
    images = transferred(other, probing, 100)
    assert images.classes == probing.classes == ("bird", "dog") and len(images) == 8
    assert images.labels.tolist() == [-1] * 3 + [1] * 5
    assert images.notes[-1].startswith(FURTHER_SET) and "1 of its 2 classes are among those of" in images.notes[-1]
    assert "fit probes on the probing images of 'folder:first'" in images.notes[-1]
    assert [record.name for record in images.records] == [record.name for record in other.records]
    few = transferred(other, probing, 4)
    assert len(few) == 4 and sorted(few.labels.tolist()) in ([-1, -1, 1, 1], [-1, 1, 1, 1])
    assert len(transferred(other, probing, 0.5)) == 4


def test_images_that_methods_were_fitted_on_are_refused(tmp_path: Path) -> None:
    probing = made(tmp_path / "first", {"bird": 4, "dog": 4}, 0)
    other = made(tmp_path / "second", {"cat": 3, "dog": 5}, 1)
    (tmp_path / "second" / "cat" / "copy.png").write_bytes((tmp_path / "first" / "dog" / "2.png").read_bytes())
    again = datasets.load(f"folder:{tmp_path / 'second'}")
    with pytest.raises(UserError, match=r"1 images of .* such as 'cat/copy.png', are probing images"):
        transferred(again, probing, 100)
    with pytest.raises(UserError, match="are probing images"):
        transferred(probing, probing, 100)
    assert len(transferred(other, probing, 100)) == 8


PAIRS = {"cat": "pet", "dog": "pet", "pet": "animal", "cow": "livestock", "pig": "livestock", "tree": "plant"}


def with_hierarchy(folder: Path, images: ImageSet, pairs: dict[str, str]) -> ImageSet:
    """The set of a folder with a file of its class hierarchy."""
    (folder / "hierarchy.csv").write_text("class,parent\n" + "".join(f"{c},{p}\n" for c, p in pairs.items()))
    return datasets.load(f"folder:{folder}")


def test_the_hierarchy_of_the_other_set_is_kept_for_the_shared_classes(tmp_path: Path) -> None:
    probing = made(tmp_path / "first", {"cat": 2, "cow": 2, "dog": 2, "house": 2, "pig": 2}, 0)
    other = made(tmp_path / "second", {"cat": 2, "cow": 2, "dog": 2, "pig": 2, "tree": 2}, 1)
    assert transferred(other, probing, 100).class_hierarchy is None
    other = with_hierarchy(tmp_path / "second", other, PAIRS)
    images = transferred(other, probing, 100)
    hierarchy = images.class_hierarchy
    assert hierarchy is not None and hierarchy.parents == ("animal", "livestock", "pet")
    # The classes are those of the probing set; the tree, which is none of them, has left no parent.
    assert [hierarchy.parents[index] if index >= 0 else "" for index in hierarchy.parent_of] == [
        *("pet", "livestock", "pet", "", "livestock"),
    ]
    assert hierarchy.above == (-1, -1, 0)
    assert all("hierarchy" not in note for note in images.notes)


def test_the_hierarchy_of_the_probing_images_comes_first(tmp_path: Path) -> None:
    counts = {"cat": 2, "cow": 2, "dog": 2, "pig": 2}
    probing = made(tmp_path / "first", counts, 0)
    probing = with_hierarchy(
        tmp_path / "first", probing, {"cat": "small", "dog": "small", "cow": "large", "pig": "large"}
    )
    other = made(tmp_path / "second", {**counts, "tree": 2}, 1)
    images = transferred(with_hierarchy(tmp_path / "second", other, PAIRS), probing, 100)
    assert images.class_hierarchy == probing.class_hierarchy is not None


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (("cat", "cow", "dog"), "1 parent with at least 2 children"),
        (("house",), "0 parents with at least 2"),
        (("cat", "cow", "dog", "pet", "pig"), "The parent 'pet' of 'cat' is a class with images"),
    ],
)
def test_a_hierarchy_that_is_none_of_the_shared_classes_is_left_out_with_a_note(
    tmp_path: Path, classes: tuple[str, ...], words: str
) -> None:
    probing = made(tmp_path / "first", dict.fromkeys(classes, 2) | {"zebra": 2}, 0)
    other = made(tmp_path / "second", {"cat": 2, "cow": 2, "dog": 2, "pig": 2, "tree": 2}, 1)
    images = transferred(with_hierarchy(tmp_path / "second", other, PAIRS), probing, 100)
    assert images.class_hierarchy is None
    assert images.notes[-2].startswith(FURTHER_SET) and "'folder:second' is left out" in images.notes[-2]
    assert words in images.notes[-2]


def test_a_suite_with_evaluation_sets_has_a_part_for_each() -> None:
    suite = with_settings(load_suite("demo"), ["data.evaluation_sets=['synthetic:8', 'photos', 'synthetic:8']"])
    first, second, third = suite.leaves
    assert (first.name, second.name, third.name) == ("demo", "demo on synthetic:8", "demo on photos")
    assert first.data.evaluation_set is None and second.data.evaluation_set == "synthetic:8"
    assert first.judging is not None and second.judging is None and not second.data.evaluation_sets
    assert first.leaves == (first,)
    with pytest.raises(UserError, match="fotos"):
        with_settings(load_suite("demo"), ["data.evaluation_sets=['fotos']"])


@pytest.mark.run
def test_a_run_fits_once_and_measures_both_sets(tmp_path: Path) -> None:
    made(tmp_path / "first", {"bird": 8, "dog": 8}, 0)
    made(tmp_path / "second", {"dog": 5, "house": 4}, 1)
    suite = harness.load_suite(
        "demo",
        backbone="tiny_vit",
        dataset=f"folder:{tmp_path / 'first'}",
        evaluation=6,
        methods=("topk_sae",),
        token_seeds=(42,),
        settings=[
            f"data.evaluation_sets=['folder:{tmp_path / 'second'}']",
            "method.topk_sae.expansion_factor=1",
            "method.topk_sae.k=4",
            "evaluation.metrics=['ms_score', 'accuracy', 'sparse_probe_k']",
        ],
    )
    summary = harness.run_suite(suite, tmp_path / "results.duckdb")
    assert summary.failed == 0
    store = open_store(tmp_path / "results.duckdb")
    cells = store.cells()
    assert len(cells) == 2 and cells["fit_id"].nunique() == 1 and cells["evaluation_fingerprint"].nunique() == 2
    assert set(cells["dataset"]) == {"folder:first", "folder:second"}
    by_set = {row.dataset: set(store.scores(cell_id=row.cell_id)["metric"]) for row in cells.itertuples()}
    assert {"ms_score", "accuracy", "sparse_probe_1"} <= by_set["folder:first"]
    # One class is shared, so accuracy is measured on its images, and a probe has no two classes to tell.
    assert "ms_score" in by_set["folder:second"] and "sparse_probe_1" not in by_set["folder:second"]


def test_a_missing_further_set_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    from harness.doctor.needs import needs

    setting = f"data.evaluation_sets=['folder:{tmp_path / 'nowhere'}']"
    missing = [need for need in needs(with_settings(load_suite("demo"), [setting])) if not need.check.ok]
    assert [need.check.what for need in missing] == [f"images folder:{tmp_path / 'nowhere'}"]
    assert "there is no folder" in missing[0].check.found and missing[0].stops == "all"
