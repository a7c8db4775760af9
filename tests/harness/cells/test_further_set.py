"""Cells on a further image set: probing images, codes of the first set, scores, notes and identities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import small_runs
from PIL import Image

import harness
from harness.cells.inputs import open_inputs
from harness.cells.plan import cells_of, prepare
from harness.errors import UserError
from harness.suites import Suite
from results import open_store
from results.store.further_set import FURTHER_SET, is_on_further_set
from results.verify.run_checks import verify

CLASSES = ("cat", "cow", "dog", "pig")
METRICS = ["r2", "probe_dense", "probe_transfer"]


def pictures(
    folder: Path, classes: tuple[str, ...] = CLASSES, *, seed: int = 0, grey: bool = False, n: int = 12
) -> Path:
    """Class folders of noise on a colour and a brightness of the class."""
    generator = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        level = np.random.default_rng(sum(map(ord, name))).integers(40, 200, 3)
        for number in range(n):
            pixels = np.clip(level + generator.normal(0, 40, (24, 24, 3)), 0, 255).astype(np.uint8)
            image = Image.fromarray(pixels)
            (image.convert("L") if grey else image).save(folder / name / f"{number}.png")
    return folder


def suite_of(
    first: Path, second: Path | None, metrics: list[str] = METRICS, *, alone: bool = False, batch_size: int = 8
) -> Suite:
    """Backbone alone and a random dictionary, evaluated on the first set and on the second one, or there alone."""
    name = f"folder:{second}"
    other: dict[str, Any] = {} if second is None else {"evaluation_sets": [name]}
    return small_runs.suite_of(
        first,
        *("identity", "random_dictionary"),
        data={"dataset": f"folder:{first}", "evaluation": 20, **({"evaluation_set": name} if alone else other)},
        seeds={"tokens": [42]},
        probing={"crops": 1, "tokens_per_image": 4},
        evaluation={"top_images": 4, "batch_size": batch_size, "metrics": metrics},
    )


def stored(path: Path) -> tuple[pd.DataFrame, dict[tuple[str, str], dict[str, Any]]]:
    """Cells, and (method, image set) -> metric -> score."""
    store = open_store(path)
    cells = store.cells()
    scores: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in cells.itertuples():
        frame = store.scores(cell_id=cell.cell_id).to_dict("records")
        scores[cell.method, cell.dataset] = {score["metric"]: score for score in frame}
    return cells, scores


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("sets")
    return pictures(folder / "first"), pictures(folder / "second", seed=1, grey=True)


@pytest.fixture(scope="module")
def run(folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "results.duckdb"
    assert harness.run_suite(suite_of(*folders), path).failed == 0
    return path


def test_probing_images_are_those_of_the_set_of_the_fit_on_every_set(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """A metric that chooses units on the probing images of a cell never reads further images for it."""
    first, second = suite_of(*folders).leaves
    (of_first,), (of_second,) = (prepare(suite, device="cpu") for suite in (first, second))
    assert of_second.probing.fingerprint == of_first.probing.fingerprint
    assert of_second.first_evaluation is not None and of_first.first_evaluation is None
    assert of_second.first_evaluation.fingerprint == of_first.evaluation.fingerprint != of_second.evaluation.fingerprint
    plans = [cells_of(second, [of_second])[0].plan]
    baseline = open_inputs(second, of_second, plans, tmp_path).baseline
    assert baseline.probing is not None and baseline.first_set is not None
    assert baseline.probing.images.fingerprint == of_first.probing.fingerprint
    assert baseline.first_set.images.fingerprint == of_first.evaluation.fingerprint
    assert baseline.images.name == "folder:second"
    plans = [cells_of(first, [of_first])[0].plan]
    baseline = open_inputs(first, of_first, plans, tmp_path).baseline
    assert baseline.probing is not None and baseline.first_set is None
    assert baseline.probing.images.fingerprint == of_first.probing.fingerprint


@pytest.mark.run
def test_a_probe_of_the_first_set_is_measured_on_both(run: Path) -> None:
    cells, scores = stored(run)
    assert len(cells) == 4 and not verify(open_store(run)).problems
    for method in ("identity", "random_dictionary"):
        first, further = (scores[method, f"folder:{name}"] for name in ("first", "second"))
        assert not [name for name in first if name.startswith("probe_transfer")]
        main, dense = further["probe_transfer"], further["probe_dense"]
        # All names are shared, so that both are one probe, on the further set and on the first one.
        assert main["value"] == dense["value"] and main["n"] == dense["n"]
        assert further["probe_transfer_layer"]["value"] == further["probe_dense_layer"]["value"]
        assert main["details"]["first"] == pytest.approx(first["probe_dense"]["value"])
        assert main["details"]["first_layer"] == pytest.approx(first["probe_dense_layer"]["value"])
        assert main["details"]["n_first"] == first["probe_dense"]["n"] == 20
        drop = further["probe_transfer_drop"]["value"]
        assert drop == pytest.approx(first["probe_dense"]["value"] - main["value"])
    identity = scores["identity", "folder:second"]
    assert identity["probe_transfer_gain"]["value"] == identity["probe_transfer_gain_change"]["value"] == 0


@pytest.mark.run
def test_cells_of_the_further_set_have_notes_and_the_others_none(run: Path) -> None:
    for cell in open_store(run).cells().to_dict("records"):
        notes = [note for note in cell["notes"] if note.startswith(FURTHER_SET)]
        assert is_on_further_set(cell) == bool(notes) == (cell["dataset"] == "folder:second")
        assert not [note for note in cell["notes"] if "probe_transfer" in note]


@pytest.mark.run
def test_the_size_of_batches_does_not_matter(folders: tuple[Path, Path], run: Path, tmp_path: Path) -> None:
    other = tmp_path / "results.duckdb"
    suite = suite_of(*folders, batch_size=3)
    assert harness.run_suite(suite, other).failed == 0
    _, scores = stored(run)
    _, again = stored(other)
    for key, of_cell in scores.items():
        for name, score in of_cell.items():
            if "probe" in name:
                assert again[key][name]["value"] == pytest.approx(score["value"], abs=1e-4), (key, name)


def test_a_first_set_without_readable_evaluation_images_is_refused_before_anything_is_computed(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    first = pictures(tmp_path / "first")
    (suite,) = suite_of(first, folders[1], alone=True).leaves
    for record in prepare(suite_of(first, None), device="cpu")[0].evaluation.records:
        (first / record.name).write_bytes(b"no image")
    with pytest.raises(UserError, match="None of the 20 images of 'folder:first' can be read"):
        prepare(suite, device="cpu")


def test_identities_contain_the_first_set_only_if_a_metric_reads_it(folders: tuple[Path, Path]) -> None:
    def cells(*arguments: Any, **options: Any) -> list[Any]:
        suite = suite_of(*arguments, **options)
        return [cell for leaf in suite.leaves for cell in cells_of(leaf, prepare(leaf, device="cpu"))]

    alone = cells(folders[0], None)
    plain = cells(*folders, ["r2", "probe_dense"])
    wanted = cells(*folders)
    assert [("first_evaluation" in cell.identity) for cell in alone] == [False] * 2
    assert [("first_evaluation" in cell.identity) for cell in plain] == [False] * 4
    assert [("first_evaluation" in cell.identity) for cell in wanted] == [False] * 2 + [True] * 2
    assert [cell.cell_id for cell in wanted[:2]] == [cell.cell_id for cell in alone]
    assert wanted[2].identity["first_evaluation"] == alone[0].prepared.evaluation.fingerprint
    assert {cell.fit_id for cell in wanted} == {cell.fit_id for cell in alone}
    # A set that is evaluated alone is the same cell.
    assert [cell.cell_id for cell in cells(*folders, alone=True)] == [cell.cell_id for cell in wanted[2:]]


@pytest.mark.run
@pytest.mark.parametrize(
    ("classes", "words"),
    [(("tree", "car"), "images of 0 of the classes"), (("dog", "tree"), "images of 1 of the classes of the probing")],
)
def test_sets_with_fewer_than_two_names_in_common_have_a_note(
    folders: tuple[Path, Path], tmp_path: Path, classes: tuple[str, ...], words: str
) -> None:
    second = pictures(tmp_path / "second", classes, seed=2, n=4)
    suite = suite_of(folders[0], second, ["r2", "probe_transfer"], alone=True)
    assert harness.run_suite(suite, tmp_path / "results.duckdb").failed == 0
    cells, scores = stored(tmp_path / "results.duckdb")
    assert all(any(words in note for note in notes) for notes in cells["notes"])
    assert not [name for of_cell in scores.values() for name in of_cell if "probe" in name]


@pytest.mark.run
def test_absorption_is_measured_with_the_hierarchy_of_the_further_set(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    second = pictures(tmp_path / "second", seed=1)
    (second / "hierarchy.csv").write_text("class,parent\ncat,pet\ndog,pet\ncow,livestock\npig,livestock\n")
    path = tmp_path / "results.duckdb"
    assert harness.run_suite(suite_of(folders[0], second, ["r2", "absorption"]), path).failed == 0
    cells, scores = stored(path)
    assert "absorption" in scores["identity", "folder:second"]
    assert "absorption" not in scores["identity", "folder:first"]
    by_set = cells[cells["method"] == "identity"].set_index("dataset")
    assert any("'folder:first' has no class hierarchy" in note for note in by_set["notes"]["folder:first"])
    assert "class_hierarchy" in by_set["identity"]["folder:second"]
    # One parent with one shared class: refused, and the cell says why.
    renamed = pictures(tmp_path / "renamed", ("cat", "cow", "dog", "tree"), seed=3)
    (renamed / "hierarchy.csv").write_text("class,parent\ncat,pet\ndog,pet\ncow,other\ntree,other\n")
    suite = suite_of(folders[0], renamed, ["r2", "absorption"], alone=True)
    assert harness.run_suite(suite, tmp_path / "other.duckdb").failed == 0
    notes = " ".join(open_store(tmp_path / "other.duckdb").cells()["notes"][0])
    assert "the class hierarchy of 'folder:renamed' is left out" in notes and "absorption is not measured" in notes
