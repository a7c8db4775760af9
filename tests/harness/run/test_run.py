"""Whole runs on a tiny backbone and real files: results, resumption, failures, and brute-force twins."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from paths import ROOT, SUPPORT
from small_runs import Stop, scores, suite_of

import methods
from harness import backbones, datasets, executors
from harness.activations.linear_site import LinearLayerSite
from harness.metrics import ms_score, r2
from harness.run import RunSummary, run
from methods.identity import Identity
from results import leaderboard, open_store
from results.store.liveness import run_states

pytestmark = pytest.mark.run


def value(store: Path, method: str, metric: str, seed: int = 1) -> float:
    frame = scores(store)
    [found] = frame[(frame.method == method) & (frame.metric == metric) & (frame.token_seed == seed)]["value"]
    return float(found)


@pytest.fixture(scope="module")
def finished(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunSummary]:
    store = tmp_path_factory.mktemp("run") / "results.duckdb"
    summary = run(suite_of(photo_folder, "identity", "random_split", "topk_sae", "elude"), store)
    return store, summary


def test_every_cell_is_there_with_its_scores_and_units(finished: tuple[Path, RunSummary]) -> None:
    store, summary = finished
    assert (summary.finished, summary.failed, summary.kept, summary.interrupted) == (8, 0, 0, False)
    cells = open_store(store).cells()
    assert set(cells.cell_id) == set(summary.cell_ids) and (cells.status == "finished").all()
    metrics = {"ms_score", "ms_score_adjusted", "r2", "accuracy", "agreement", "kl", "l0", "alive_fraction"}
    for _, found in scores(store).groupby("cell_id"):
        assert metrics <= set(found.metric)
    for cell in cells.itertuples():
        units = open_store(store).units(cell.cell_id)
        assert len(units) == cell.n_units
        assert all(len(images) == 6 for images in units.top_image)
        assert (store.parent / cell.artifact).is_file()


def test_lossless_methods_change_nothing(finished: tuple[Path, RunSummary]) -> None:
    store, _ = finished
    for method in ("identity", "random_split", "elude"):
        assert value(store, method, "r2") == pytest.approx(1, abs=1e-9)
        assert value(store, method, "agreement") == 1
        assert value(store, method, "kl") == pytest.approx(0, abs=1e-6)
        assert value(store, method, "accuracy") == value(store, "identity", "accuracy")
    assert value(store, "topk_sae", "r2") < 1
    assert value(store, "topk_sae", "l0") <= 4
    assert value(store, "elude", "expansion_factor") > 1
    assert value(store, "random_split", "expansion_factor") == 2


def test_scores_equal_a_brute_force_twin(finished: tuple[Path, RunSummary], photo_folder: Path) -> None:
    """Everything at once in memory, straight from the definitions."""
    store, _ = finished
    images = datasets.load(f"folder:{photo_folder}").split(evaluation=18).evaluation
    backbone = backbones.load("tiny_vit")
    site = LinearLayerSite(backbone.model, "blocks.1.mlp.fc2", n_prefix_tokens=1)
    pixels = torch.stack([backbone.preprocessing.center(images.open(i)) for i in range(18)])
    q, a = site.capture(backbone.features, pixels)
    frame = open_store(store).cells()
    for name in ("identity", "topk_sae", "elude"):
        [cell] = frame[(frame.method == name) & (frame.token_seed == 1)].itertuples()
        method = methods.load(store.parent / cell.artifact)
        codes = method.encode((q if method.spec.reads == "input" else a).flatten(0, 1)).reshape(18, 17, -1)
        expected = []
        for unit in range(method.n_units):
            peak, token = codes[:, :, unit].max(1)
            if not bool((codes[:, :, unit] > 0).any()):
                continue
            top = sorted(range(18), key=lambda i: (-float(peak[i]), i))[:6]
            low, high = float(codes[:, :, unit].min()), float(codes[:, :, unit].max())
            weights = torch.tensor([(float(peak[i]) - low) / (high - low) for i in top])
            expected.append(ms_score(torch.stack([a[i, token[i]] for i in top]), weights))
        assert value(store, name, "ms_score") == pytest.approx(np.nanmean(expected), abs=1e-5)
        a_hat = method.decode(codes.flatten(0, 1))
        assert value(store, name, "r2") == pytest.approx(r2(a.flatten(0, 1), a_hat), abs=1e-6)
        assert value(store, name, "l0") == pytest.approx(float((codes != 0).float().sum(-1).mean()), abs=1e-3)


def test_what_was_in_force_is_recorded_with_each_cell(photo_folder: Path, tmp_path: Path) -> None:
    """Also if a method changes it, and with the number of threads that the executor was given."""
    methods.METHODS.entries.pop("greedy", None)
    methods.register(Greedy)
    before = torch.get_num_threads()
    try:
        with executors.create("local", threads=before + 1) as local:
            run(suite_of(photo_folder, "greedy", "identity"), tmp_path / "r.duckdb", executor=local)
    finally:
        methods.METHODS.entries.pop("greedy")
    assert torch.get_num_threads() == before
    found = open_store(tmp_path / "r.duckdb").cells()
    assert [cell["threads"] for cell in found.environment] == [before + 1] * 4
    assert all(cell["processor"] and cell["blas"] for cell in found.environment)


def test_a_second_run_keeps_everything(finished: tuple[Path, RunSummary], photo_folder: Path) -> None:
    store, first = finished
    before = scores(store)
    again = run(suite_of(photo_folder, "identity", "random_split", "topk_sae", "elude"), store)
    assert (again.finished, again.kept) == (0, 8) and again.cell_ids == first.cell_ids
    pd.testing.assert_frame_equal(scores(store), before)


def test_the_leaderboard_has_mean_spread_and_n(finished: tuple[Path, RunSummary]) -> None:
    store, _ = finished
    [board] = leaderboard(open_store(store))
    assert {row.label for row in board.rows} == {"backbone only", "random split", "TopK SAE", "ELUDe"}
    assert {row.n_finished for row in board.rows} == {2}


@pytest.mark.parametrize("backbone", ["tiny_vit", pytest.param("tiny_cnn", marks=pytest.mark.slow)])
def test_starting_from_the_state_before_the_site_changes_nothing(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: str
) -> None:
    suite = suite_of(photo_folder, "identity", "random_split", backbone=backbone)
    run(suite, tmp_path / "with" / "r.duckdb")
    assert list((tmp_path / "with" / "cache" / "baselines").glob("*/states.f32"))
    monkeypatch.setattr("harness.activations.forward.find_cut", lambda model, path: None)
    run(suite, tmp_path / "without" / "r.duckdb")
    assert not list((tmp_path / "without" / "cache" / "baselines").glob("*/states.f32"))
    pd.testing.assert_frame_equal(scores(tmp_path / "with" / "r.duckdb"), scores(tmp_path / "without" / "r.duckdb"))


def test_a_wrong_cut_is_found_out(photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state kept is not all that the rest depends on: the check on the first batch must reject it."""
    from harness.activations.prefix_cache import Cut

    def wrong(model: torch.nn.Module, path: str) -> Cut:
        return Cut(model.get_submodule("blocks.1.norm2"), ())

    suite = suite_of(photo_folder, "identity")
    monkeypatch.setattr("harness.activations.forward.find_cut", wrong)
    run(suite, tmp_path / "r.duckdb")
    assert not list((tmp_path / "cache" / "baselines").glob("*/states.f32"))
    assert value(tmp_path / "r.duckdb", "identity", "agreement") == 1


def test_own_head_gives_agreement_and_no_accuracy(photo_folder: Path, tmp_path: Path) -> None:
    run(suite_of(photo_folder, "identity", backbone="tiny_cnn"), tmp_path / "r.duckdb")
    found = set(scores(tmp_path / "r.duckdb").metric)
    assert "agreement" in found and "accuracy" not in found


class Greedy(Identity):
    """Takes more threads and does not give them back."""

    spec = Identity.spec._replace(name="greedy", title="greedy")

    def fit(self, *args: Any, **kwargs: Any) -> Greedy:
        torch.set_num_threads(7)
        super().fit(*args, **kwargs)
        return self


class Exploding(Identity):
    spec = Identity.spec._replace(name="exploding", title="exploding")

    def fit(self, *args: Any, **kwargs: Any) -> Exploding:
        raise RuntimeError("no more [red]ideas[/red]")


def test_a_method_that_raises_becomes_a_failed_cell_and_the_others_go_on(photo_folder: Path, tmp_path: Path) -> None:
    methods.METHODS.entries.pop("exploding", None)
    methods.register(Exploding)
    try:
        suite = suite_of(photo_folder, "exploding", "identity")
        store = tmp_path / "r.duckdb"
        summary = run(suite, store)
        assert (summary.finished, summary.failed) == (2, 2)
        failed = open_store(store).cells().query("status == 'failed'")
        assert set(failed.error_type) == {"RuntimeError"} and set(failed.error_message) == {"no more [red]ideas[/red]"}
        assert all("in fit" in text and str(Path.cwd()) not in text for text in failed.traceback)
        again = run(suite, store)
        assert (again.kept, again.failed) == (2, 2), "failed cells are tried again"
        [board] = leaderboard(open_store(store))
        assert {row.n_failed for row in board.rows if row.label == "exploding"} == {2}
    finally:
        methods.METHODS.entries.pop("exploding")


def test_an_interrupted_run_ends_up_identical(
    finished: tuple[Path, RunSummary], photo_folder: Path, tmp_path: Path
) -> None:
    store = tmp_path / "r.duckdb"
    suite = suite_of(photo_folder, "identity", "random_split", "topk_sae", "elude")
    first = run(suite, store, reporter=Stop(3))
    assert first.interrupted and first.finished == 3
    assert open_store(store).runs().status.tolist() == ["interrupted"]
    second = run(suite, store)
    assert (second.kept, second.finished) == (3, 5)
    pd.testing.assert_frame_equal(scores(store), scores(finished[0]))


@pytest.mark.slow
def test_a_killed_run_ends_up_identical(finished: tuple[Path, RunSummary], photo_folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "r.duckdb"
    program = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(SUPPORT)!r})
        import tiny_backbones
        from pathlib import Path
        from small_runs import suite_of
        from harness.run import run
        run(suite_of(Path({str(photo_folder)!r}), "identity", "random_split", "topk_sae", "elude"), {str(store)!r})
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if store.exists() and "finished" in open_store(store).statuses().values():
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    kept = list(open_store(store).statuses().values()).count("finished")
    assert kept >= 1
    assert [state.state for state in run_states(open_store(store))] == ["died"]
    summary = run(suite_of(photo_folder, "identity", "random_split", "topk_sae", "elude"), store)
    assert summary.kept == kept
    assert [state.state for state in run_states(open_store(store))] == ["died", "finished"]
    pd.testing.assert_frame_equal(scores(store), scores(finished[0]))


def test_two_boards_for_two_evaluation_sets(
    finished: tuple[Path, RunSummary], photo_folder: Path, tmp_path: Path
) -> None:
    store = tmp_path / "r.duckdb"
    run(suite_of(photo_folder, "identity"), store)
    run(suite_of(photo_folder, "identity", data={"dataset": f"folder:{photo_folder}", "evaluation": 12}), store)
    boards = leaderboard(open_store(store))
    assert len(boards) == 2 and all("not ranked together" in " ".join(board.notes) for board in boards)
