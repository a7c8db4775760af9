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
    assert "1 of its 2 classes are among those of" in images.notes[-1]
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
