"""``harness transfer``: a table of fits on two image sets, JSON, and stores without any."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import harness
from harness.cli import app

pytestmark = pytest.mark.run


def pictures(folder: Path, classes: tuple[str, ...], seed: int) -> Path:
    generator = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(8):
            pixels = generator.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose fits were evaluated on two sets."""
    folder = tmp_path_factory.mktemp("transfer")
    suite = harness.load_suite(
        "demo",
        backbone="tiny_vit",
        dataset=f"folder:{pictures(folder / 'first', ('bird', 'dog'), 0)}",
        evaluation=6,
        methods=("identity",),
        token_seeds=(42,),
        settings=[
            f"data.evaluation_sets=['folder:{pictures(folder / 'second', ('dog', 'house'), 1)}']",
            "evaluation.metrics=['ms_score', 'tpp']",
        ],
    )
    assert harness.run_suite(suite, folder / "results.duckdb").failed == 0
    return folder / "results.duckdb"


def run(*words: str) -> str:
    result = CliRunner().invoke(app, ["transfer", *words])
    assert result.exit_code == 0, result.output
    return result.output


def test_fits_on_two_sets_are_compared(store: Path) -> None:
    (row,) = json.loads(run("--store", str(store), "--json"))
    assert (row["first"], row["second"]) == ("folder:first", "folder:second")
    assert row["n_units"] >= row["alive_first"] > 8 and 0 <= row["kept_alive"] <= 1
    assert -1 <= row["low"] <= row["rank_correlation"] <= row["high"] <= 1
    assert row["scorer"] is None and row["same_label"] is None
    text = run("--store", str(store))
    assert "folder:first to folder:second" in text and "backbone only" in text and "stay alive" in text


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with probes on two sets that share their classes, whose further set was measured first."""
    folder = tmp_path_factory.mktemp("probed")
    first, second = (pictures(folder / name, ("bird", "dog"), seed) for seed, name in enumerate(("first", "second")))
    for settings in ([f"data.evaluation_set='folder:{second}'"], []):
        suite = harness.load_suite(
            "demo",
            backbone="tiny_vit",
            dataset=f"folder:{first}",
            evaluation=6,
            methods=("identity",),
            token_seeds=(42,),
            settings=[*settings, "evaluation.metrics=['ms_score', 'sparse_probe_k', 'probe_transfer']"],
        )
        assert harness.run_suite(suite, folder / "results.duckdb").failed == 0
    return folder / "results.duckdb"


def test_probes_are_compared_from_the_set_of_the_fit_that_was_measured_last(probed: Path) -> None:
    (row,) = json.loads(run("--store", str(probed), "--json"))
    assert (row["first"], row["second"], row["fitted_on_first"]) == ("folder:first", "folder:second", True)
    probes = row["probes"]
    assert set(probes) == {
        *("sparse_first", "sparse_second", "probe_first", "probe", "probe_low", "probe_high"),
        *("gain", "gain_low", "gain_high", "change", "change_low", "change_high"),
    }
    # The units are the neurons.
    assert probes["gain"] == probes["gain_low"] == probes["gain_high"] == probes["change"] == 0
    assert 0 <= probes["probe_low"] <= probes["probe"] <= probes["probe_high"] <= 1
    text = run("--store", str(probed))
    assert "gain over layer" in text and "change of gain" in text and text.count("+0.0 [+0.0, +0.0]") == 2
    assert f"{100 * probes['probe_first']:.1f} / {100 * probes['probe']:.1f} [" in text
    assert f"{100 * probes['sparse_first']:.1f} / {100 * probes['sparse_second']:.1f}" in text


def test_columns_of_probes_are_left_out_if_no_cell_has_them(store: Path) -> None:
    text = run("--store", str(store))
    assert "probe" not in text
    (row,) = json.loads(run("--store", str(store), "--json"))
    assert row["probes"] == dict.fromkeys(row["probes"])


def test_a_fit_without_its_own_set_is_said_to_have_none(probed: Path, tmp_path: Path) -> None:
    """Both cells get the note of a further set, as if neither were on the set of the fit."""
    import duckdb

    copy = tmp_path / "results.duckdb"
    copy.write_bytes(probed.read_bytes())
    with duckdb.connect(str(copy)) as connection:
        connection.execute("UPDATE cells SET notes = ?", ['["Further image set: \\u001b[31m"]'])
    text = run("--store", str(copy))
    assert "is not the set of the fit, on which no cell was evaluated" in text and "\x1b" not in text


def test_names_in_the_store_hold_no_path_and_metrics_that_do_not_apply_are_named(store: Path) -> None:
    from results import open_store

    cells = open_store(store, read_only=True).cells().set_index("dataset")
    assert set(cells["suite"]) == {"demo", "demo on folder:second"}
    # One class is shared with the second set; with two, probes are mirror images.
    assert "tpp is not measured: it does not apply to identity on these images." in list(
        cells["notes"]["folder:second"]
    )
    assert any("fewer than 3 classes" in note for note in cells["notes"]["folder:first"])


def test_a_store_without_a_second_set_says_how_to_get_one(tmp_path: Path) -> None:
    suite = harness.load_suite(
        "demo", backbone="tiny_vit", methods=("identity",), token_seeds=(42,), settings=["evaluation.metrics=['r2']"]
    )
    path = tmp_path / "results.duckdb"
    assert harness.run_suite(suite, path).failed == 0
    assert "No fit was evaluated on two image sets" in run("--store", str(path))
    assert run("--store", str(path), "--json").strip() == "[]"
    missing = CliRunner().invoke(app, ["transfer", "--store", str(tmp_path / "none.duckdb")])
    assert missing.exit_code != 0 and "Traceback" not in missing.output
