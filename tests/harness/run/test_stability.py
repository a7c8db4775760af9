"""Stability over seeds: closed-form groups, then stored fits of real runs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import suite_of
from typer.testing import CliRunner

import methods
from harness.cli import app
from harness.metrics import matched_cosine_by_parent
from harness.run import RunSummary, run
from harness.run.stability import measure
from methods.base import Device, LinearSite, Progress, Tokens, no_progress
from methods.elude.method import ELUDe
from results import StoreError, leaderboard, open_store
from results.boards.columns import is_detail
from results.boards.group_columns import attach_group_scores
from results.boards.seeds import averaged
from results.boards.text import render_text
from results.store.group_scores import GroupScoreRecord, group_id_of, group_scores, record_group_scores

pytestmark = pytest.mark.run

FITS: list[int] = []


class CountedELUDe(ELUDe):
    """ELUDe that counts its fits."""

    spec = ELUDe.spec._replace(name="counted_elude")

    def fit(
        self,
        tokens: Tokens,
        site: LinearSite,
        *,
        seed: int = 42,
        device: Device = "cpu",
        progress: Progress = no_progress,
        **kwargs: Any,
    ) -> CountedELUDe:
        FITS.append(seed)
        super().fit(tokens, site, seed=seed, device=device, progress=progress, **kwargs)
        return self


@pytest.fixture(scope="module", autouse=True)
def counted() -> Iterator[None]:
    methods.METHODS.entries.pop("counted_elude", None)
    methods.register(CountedELUDe)
    yield
    methods.METHODS.entries.pop("counted_elude")


@pytest.fixture(scope="module")
def repeated(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory, counted: None) -> tuple[Path, RunSummary]:
    """Three runs with other initialisation seeds on the first of two token sets."""
    store = tmp_path_factory.mktemp("stability") / "r.duckdb"
    suite = suite_of(
        photo_folder,
        "counted_elude",
        "random_split",
        "random_dictionary",
        "topk_sae",
        "identity",
        evaluation={"top_images": 6, "batch_size": 6, "metrics": ["r2", "max_collinearity"]},
        stability={"init": [42, 7, 1024]},
    )
    values = suite.model_dump()
    values["methods"][0]["config"] = {"top_k": 200, "min_cluster_size": 15}
    values["methods"][2]["config"] = {"expansion_factor": 4, "k": 4}
    return store, run(type(suite)(**values), store)


def group(store: Path, label: str, metric: str = "stability") -> dict[str, Any]:
    rows = group_scores(open_store(store))
    [found] = rows[(rows["label"] == label) & (rows["metric"] == metric)].to_dict("records")
    return found


def test_elude_is_exactly_stable_over_three_real_runs(repeated: tuple[Path, RunSummary]) -> None:
    store, summary = repeated
    assert (summary.finished, summary.failed) == (20, 0)
    assert sorted(FITS) == [7, 42, 42, 1024], "three runs on the first token set, one on the second"
    cells = open_store(store).cells()
    own = cells[(cells["method"] == "counted_elude") & (cells["token_seed"] == 1)]
    assert own["artifact"].nunique() == 3
    for metric in ("stability", "stability_writer"):
        found = group(store, "ELUDe", metric)
        assert found["value"] == 1.0 and found["uncertainty"] == 0.0
        assert (found["n"], found["details"]["identical_pairs"]) == (3, 3)
        assert found["params"] == {"init_seeds": [7, 42, 1024]}
        assert found["details"]["matching"] == "per parent unit"
    assert group(store, "ELUDe")["details"]["direction"] == "reader"


def test_methods_that_draw_are_not(repeated: tuple[Path, RunSummary]) -> None:
    store, _ = repeated
    for label in ("random split", "random dictionary", "TopK SAE"):
        found = group(store, label)
        assert found["n"] == 3 and found["details"]["identical_pairs"] == 0
        assert -1 < found["value"] < 1 and found["uncertainty"] > 0
    chance = group(store, "random dictionary")
    assert chance["value"] == pytest.approx(chance["details"]["chance"], abs=0.08)
    # Each part of a random split writes to its own neuron, so the only cost is an unequal number of alive parts.
    writer = group(store, "random split", "stability_writer")
    assert writer["value"] == pytest.approx(1) and writer["details"]["left_out"] == [0, 0, 0]
    units = [open_store(store).units(cell_id).query("alive") for cell_id in writer["cell_ids"]]
    counts = [alive["parent"].value_counts().reindex(range(24), fill_value=0) for alive in units]
    expected = [1 - ((a - b).abs() / np.maximum(a, b)).mean() for a, b in itertools.combinations(counts, 2)]
    assert writer["details"]["alive"]["pairs"] == pytest.approx(expected)
    rows = group_scores(open_store(store))
    assert "stability_writer" not in set(rows[rows["label"] == "TopK SAE"]["metric"])


def test_a_random_splits_reading_directions_by_brute_force(repeated: tuple[Path, RunSummary]) -> None:
    store, _ = repeated
    every, of_alive = group(store, "random split"), group(store, "random split", "stability_alive")
    loaded = [
        methods.load(
            store.parent
            / open_store(store).query("SELECT artifact FROM cells WHERE cell_id = ?", [cell_id])["artifact"][0]
        ).dictionary()
        for cell_id in every["cell_ids"]
    ]
    alive = [
        torch.from_numpy(open_store(store).units(cell_id)["alive"].to_numpy(dtype=bool).copy())
        for cell_id in every["cell_ids"]
    ]
    for found, masks in ((every, [torch.ones_like(mask) for mask in alive]), (of_alive, alive)):
        expected = []
        for i, j in ((0, 1), (0, 2), (1, 2)):
            d1, d2 = loaded[i].atoms[masks[i]], loaded[j].atoms[masks[j]]
            assert loaded[i].parents is not None and loaded[j].parents is not None
            expected.append(matched_cosine_by_parent(d1, loaded[i].parents[masks[i]], d2, loaded[j].parents[masks[j]]))
        assert found["details"]["pairs"] == pytest.approx(expected)
        assert found["value"] == pytest.approx(sum(expected) / 3)
        assert found["details"]["silent"] == [int((~mask).sum()) for mask in alive]
    assert (every["version"], of_alive["version"]) == (2, 1)


def test_sensitivity_to_the_token_seed_is_over_token_sets(repeated: tuple[Path, RunSummary]) -> None:
    store, _ = repeated
    found = group(store, "TopK SAE", "token_sensitivity")
    assert found["params"] == {"token_seeds": [1, 2]} and found["n"] == 1
    assert found["details"]["on"] == "init seed 42" and math.isnan(found["uncertainty"] or math.nan)
    assert group(store, "random dictionary", "token_sensitivity")["value"] == 1, "its atoms do not see the tokens"
    assert group(store, "ELUDe", "token_sensitivity")["value"] < 1


def test_the_board_has_it_as_columns(repeated: tuple[Path, RunSummary]) -> None:
    store, _ = repeated
    [board] = leaderboard(open_store(store))
    keys = [column.key for column in board.columns]
    assert {"stability", "stability_writer", "token_sensitivity"} <= set(keys)
    assert [is_detail(column) for column in board.columns if column.metric.startswith("stability")] == [
        False,
        True,
        False,
    ]
    assert "token_sensitivity_alive" not in keys
    assert not any(key.startswith("evidence_") for key in keys)
    rows = {row.label: row for row in board.rows}
    assert (rows["ELUDe"].metrics["stability"].mean, rows["ELUDe"].metrics["stability"].rank) == (1.0, 1)
    pairs = group(store, "TopK SAE")["details"]["pairs"]
    assert rows["TopK SAE"].metrics["stability"].values == pytest.approx(tuple(pairs))
    assert rows["TopK SAE"].metrics["stability"].std == pytest.approx(torch.tensor(pairs).double().std().item())
    text = render_text(board, 200)
    assert "chance level (random dictionaries of the same shape)" in text


def test_what_is_measured_is_kept_until_a_cell_is_run_again(
    repeated: tuple[Path, RunSummary], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(repeated[0], read_only=False)
    again = measure(store)
    assert again.records == [] and again.kept == 10
    with store.writing() as opened:
        opened.execute("UPDATE cells SET started_at = now() WHERE method = 'identity' AND init_seed = 7")
    assert {record.metric for record in measure(store).records} == {"stability", "stability_alive"}
    assert len(measure(store, anew=True).records) == 17


def test_a_missing_fit_is_said_and_the_others_are_measured(repeated: tuple[Path, RunSummary], tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(repeated[0].parent, folder, ignore=shutil.ignore_patterns("cache"))
    store = folder / "r.duckdb"
    cells = open_store(store).cells()
    for artifact in cells[(cells["method"] == "topk_sae")]["artifact"]:
        (folder / artifact).unlink()
    found = measure(open_store(store, read_only=False), anew=True)
    assert len(found.problems) == 2 and all("TopK SAE" in text and "no saved method" in text for text in found.problems)
    assert len(found.records) == 14


def test_the_command(repeated: tuple[Path, RunSummary]) -> None:
    shown = CliRunner().invoke(app, ["stability", "--store", str(repeated[0])])
    assert shown.exit_code == 0, shown.output
    [line] = [line for line in shown.output.splitlines() if "ELUDe" in line and " stability " in line]
    assert "1.0000 ± 0.0000" in line


def test_group_records_refuse_what_is_no_group(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="needs two"):
        GroupScoreRecord(group_id="g", config_id="c", label="l", cell_ids=["a"], metric="m", value=1.0)
    with pytest.raises(StoreError, match="direction"):
        GroupScoreRecord(
            group_id="g", config_id="c", label="l", cell_ids=["a", "b"], metric="m", value=1.0, direction="up"
        )
    assert group_id_of(["a", "b"], "init_seed") == group_id_of(["b", "a"], "init_seed")
    assert group_id_of(["a", "b"], "init_seed") != group_id_of(["a", "b"], "token_seed")


def test_a_group_score_takes_the_place_of_its_earlier_value(tmp_path: Path) -> None:
    store = open_store(tmp_path / "r.duckdb", read_only=False)
    for value in (0.25, 0.75):
        record_group_scores(
            store,
            [
                GroupScoreRecord(
                    group_id="g",
                    config_id="c",
                    label="l",
                    cell_ids=["a", "b"],
                    metric="m",
                    value=value,
                    details={"pairs": [value, math.nan]},
                )
            ],
        )
    [row] = group_scores(store).to_dict("records")
    assert row["value"] == 0.75 and row["details"] == {"pairs": [0.75, "NaN"]} and row["cell_ids"] == ["a", "b"]


def test_the_largest_group_is_shown_and_only_whole_ones() -> None:
    board = {"backbone": "b", "site": "s", "dataset": None, "evaluation_fingerprint": "e", "probing_fingerprint": "p"}
    cells = [
        {**board, "cell_id": name, "status": "finished", "label": "l", "token_seed": 1, "init_seed": seed}
        for seed, name in enumerate("abc")
    ]

    def row(cell_ids: str, value: float) -> dict[str, Any]:
        return {
            "cell_ids": list(cell_ids),
            "config_id": "c",
            "metric": "stability",
            "version": 1,
            "value": value,
            "params": {"init_seeds": len(cell_ids)},
            "n": 1,
            "unit": "",
            "direction": "higher",
            "details": {"on": "token seed 1", "pairs": [value]},
        }

    found = attach_group_scores(cells, [row("abc", 0.5), row("ab", 0.9)])
    assert [score["value"] for score in found.scores] == [0.5] and found.scores[0]["cell_id"] == "a"
    of_two = attach_group_scores(cells[:2], [row("abc", 0.5), row("ab", 0.9)])
    assert [score["value"] for score in of_two.scores] == [0.9]
    assert attach_group_scores([{**cells[0], "status": "failed"}, cells[1]], [row("ab", 0.9)]).scores == []


def test_repeated_runs_are_in_no_mean_over_token_sets(repeated: tuple[Path, RunSummary]) -> None:
    assert averaged({(1, 42), (1, 7), (1, 1024), (2, 42)}) == {(1, 42), (2, 42)}
    assert averaged({(1, 42), (1, 7)}) == {(1, 42), (1, 7)}
    assert averaged({(1, 42), (2, 42), (1, 7), (2, 7)}) == {(1, 42), (2, 42), (1, 7), (2, 7)}
    assert averaged({(1, 42), (2, 7)}) == {(1, 42), (2, 7)}
    store = open_store(repeated[0])
    [board] = leaderboard(store)
    [row] = [row for row in board.rows if row.label == "TopK SAE"]
    scores = store.scores(metric="r2").query("method == 'topk_sae' and init_seed == 42")
    assert row.n_finished == 4
    assert row.metrics["r2"].values == pytest.approx(tuple(scores.sort_values("token_seed")["value"]))
    assert any("init seed 7, 1024 were not run on every token set" in note for note in board.notes)
