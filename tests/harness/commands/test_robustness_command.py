"""``harness robustness``: a run of the metrics on tiny data, its table, JSON and figure, and stores without any."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from robust_store import predictions, robust_scores, store_of
from typer.testing import CliRunner

import harness
from harness.cli import app
from results import ScoreRecord, open_store

pytestmark = pytest.mark.run


def pictures(folder: Path) -> Path:
    """Three classes of one colour each, with noise."""
    generator = np.random.default_rng(0)
    for number, name in enumerate(("blue", "green", "red")):
        (folder / name).mkdir(parents=True)
        for index in range(12):
            pixels = generator.normal(90, 40, (24, 24, 3))
            pixels[..., number] += 60
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{index}.png")
    return folder


METRICS = ("robust_corruption", "robust_labels", "robust_few_shot")


def run_into(folder: Path, images: Path, *methods: str, batch_size: int = 32) -> Path:
    """Run the metrics on pictures, without a cache of other runs, and return the store."""
    suite = harness.load_suite(
        "demo",
        backbone="tiny_vit",
        dataset=f"folder:{images}",
        evaluation=12,
        methods=methods,
        token_seeds=(42,),
        settings=[
            f"evaluation.metrics=['l0', 'expansion_factor', {', '.join(map(repr, METRICS))}]",
            f"evaluation.batch_size={batch_size}",
        ],
    )
    assert harness.run_suite(suite, folder / "results.duckdb", cache=folder / "cache").failed == 0
    return folder / "results.duckdb"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures(tmp_path_factory.mktemp("pictures") / "pictures")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    return run_into(tmp_path_factory.mktemp("robustness"), images, "identity", "random_dictionary")


def run(*words: str) -> str:
    result = CliRunner().invoke(app, [*words], env={"COLUMNS": "300"})
    assert result.exit_code == 0, result.output
    return result.output


def test_each_method_has_an_answer_under_each_disturbance(store: Path) -> None:
    made = json.loads(run("robustness", "--store", str(store), "--json"))
    rows = {(row["method"], row["metric"]): row for row in made["rows"]}
    assert {metric for _, metric in rows} == set(METRICS)
    for metric in METRICS:
        backbone, random = rows["identity", metric], rows["random_dictionary", metric]
        assert backbone["gain"]["value"] == 0 and backbone["verdict"] == ""
        assert backbone["layer"] == random["layer"] and random["gain"]["n"] == 12
        assert random["gain"]["value"] == pytest.approx(random["codes"] - random["layer"])
        assert random["gain"]["low"] <= random["gain"]["value"] <= random["gain"]["high"]
    assert len(rows["identity", "robust_corruption"]["curve"]) == 26
    # Three classes: with 80 % wrong labels, the true class is not the most probable one.
    assert [point["share"] for point in rows["identity", "robust_labels"]["curve"]] == [0, 20, 40, 60]
    text = run("robustness", "--store", str(store))
    assert "backbone only" in text and "corrupted images" in text and "Holm" in text


def test_the_batch_size_changes_nothing(store: Path, images: Path, tmp_path: Path) -> None:
    other = run_into(tmp_path, images, "random_dictionary", batch_size=5)
    values = []
    for path in (store, other):
        scores = open_store(path, read_only=True).scores()
        chosen = scores[scores["metric"].str.startswith("robust_") & (scores["method"] == "random_dictionary")]
        values.append(chosen.groupby(["label", "metric"])["value"].mean())
    assert len(values[0]) >= 9
    # A logit that is equal up to rounding may fall on the other side.
    assert np.abs(values[0] - values[1]).max() < 0.01


def test_rows_of_other_layers_and_image_sets_are_told_apart(tmp_path: Path) -> None:
    def scores() -> list[ScoreRecord]:
        sides = predictions("robust_labels", 0.8, 0), predictions("robust_labels", 0.6, 1)
        made: list[ScoreRecord] = robust_scores("robust_labels", *sides)
        return made

    store_of(
        tmp_path / "s.duckdb",
        {"a": ({}, scores()), "b": ({"site": "proj"}, scores()), "c": ({"dataset": "drawings"}, scores())},
    )
    text = run("robustness", "--store", str(tmp_path / "s.duckdb"))
    for title in ("vit at fc, photos:", "vit at proj, photos:", "vit at fc, drawings:"):
        assert text.count(title) == 1
    answers = text[text.index("Are its features more robust?") :]
    assert answers.count("drawings") == 1 and answers.count("proj") == 1 and answers.count("photos") == 2


def test_scores_of_a_run_pass_verify_and_are_drawn(store: Path, tmp_path: Path) -> None:
    notes = [note for of_cell in open_store(store, read_only=True).cells()["notes"] for note in of_cell]
    assert any("robust_labels leaves out 80 %" in note for note in notes)
    assert not any("failed" in note for note in notes)
    run("verify", "--store", str(store))
    run("export", str(tmp_path / "curves.pdf"), "--figure", "robustness", "--store", str(store))
    assert (tmp_path / "curves.pdf").read_bytes().startswith(b"%PDF")


def test_a_store_without_the_metrics_says_how_to_get_them(tmp_path: Path) -> None:
    suite = harness.load_suite(
        "demo", backbone="tiny_vit", methods=("identity",), token_seeds=(42,), settings=["evaluation.metrics=['r2']"]
    )
    path = tmp_path / "results.duckdb"
    assert harness.run_suite(suite, path).failed == 0
    assert "run `harness run --suite robustness`" in run("robustness", "--store", str(path))
    assert json.loads(run("robustness", "--store", str(path), "--json"))["rows"] == []
    missing = CliRunner().invoke(app, ["robustness", "--store", str(tmp_path / "none.duckdb")])
    assert missing.exit_code != 0 and "Traceback" not in missing.output
