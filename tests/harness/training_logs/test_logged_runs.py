"""Runs with ``--log``: which cells are logged, when, by which process, and that results stay the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from command_line import harness
from paths import ROOT, SUPPORT
from small_runs import scores, suite_of

import methods
from harness import run_suite
from harness.errors import UserError
from harness.executors import Executor, create
from harness.executors.processes import Processes
from harness.progress import Silent
from harness.run import run
from harness.suites import Suite
from harness.training_logs import TRAINING_LOGS, LoggedRun
from methods.base import no_metrics
from methods.identity import Identity
from methods.plugin_files import load_plugin_file
from methods.registry import forget
from methods.sae.topk import TopKSAE
from results import open_store

pytestmark = pytest.mark.run

PLUGIN = SUPPORT / "recording_log.py"


class Listening(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


class Reporting(Identity):
    """Calls ``on_metrics`` as a method of a user may, and has no curves."""

    spec = Identity.spec._replace(name="reporting", title="reporting")

    def fit(self, tokens: Any, site: Any, **options: Any) -> Reporting:
        for step in (10, 20):
            self.on_metrics(step, {"loss": torch.tensor(1 / step), "my metric": step})
        super().fit(tokens, site, **options)
        return self


class Ending(Identity):
    """Ends its fit by an exception."""

    spec = Identity.spec._replace(name="ending", title="ending")
    error: BaseException = ValueError("as planned")

    def fit(self, tokens: Any, site: Any, **options: Any) -> Ending:
        self.on_metrics(1, {"loss": 0.5})
        raise self.error


@pytest.fixture(autouse=True, scope="module")
def plugin() -> Iterator[None]:
    module = load_plugin_file(PLUGIN)
    methods.register(Reporting)
    methods.register(Ending)
    yield
    forget(module)
    for name in ("reporting", "ending"):
        del methods.METHODS.entries[name]


def recorded(folder: Path) -> list[dict[str, Any]]:
    """Return the logs below the folder of a store: what each was opened with, its points, scores and end."""
    logs = []
    for file in sorted(folder.glob("logs/recording/*.jsonl")):
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        merged = {key: value for line in lines for key, value in line.items() if key in ("open", "scores", "failed")}
        points = [(name, line["step"], value) for line in lines for name, value in line.get("values", {}).items()]
        logs.append({"scores": None, "failed": None, **merged, "points": points})
    return logs


def suite(folder: Path, *names: str, seeds: tuple[int, ...] = (1,), **evaluation: Any) -> Suite:
    values = {"top_images": 4, "batch_size": 18, "metrics": ["l0", "r2"], **evaluation}
    return suite_of(folder, *names, seeds={"tokens": list(seeds)}, evaluation=values)


def stored_points(store: Path, cell_id: str) -> set[tuple[str, int, float]]:
    return {(row.series, int(row.step), row.value) for row in open_store(store).curves(cell_id).itertuples()}


def test_results_are_the_same_with_a_log(photo_folder: Path, tmp_path: Path) -> None:
    plain, logged = tmp_path / "plain" / "r.duckdb", tmp_path / "logged" / "r.duckdb"
    wanted = suite(photo_folder, "topk_sae", "identity")
    first, second = run(wanted, plain), run(wanted, logged, log="recording")
    assert first.cell_ids == second.cell_ids
    pd.testing.assert_frame_equal(scores(plain), scores(logged))
    for cell_id in first.cell_ids:
        assert stored_points(plain, cell_id) == stored_points(logged, cell_id)
    [before], [after] = ([cell for cell in open_store(store).cells().to_dict("records") if cell["method"] == "topk_sae"]
                         for store in (plain, logged))  # fmt: skip
    assert before["notes"] == after["notes"]
    assert (plain.parent / before["artifact"]).read_bytes() == (logged.parent / after["artifact"]).read_bytes()
    assert not (plain.parent / "logs" / "recording").exists()
    assert run(wanted, logged, log="recording").kept == 2
    assert len(recorded(logged.parent)) == 2, "kept cells are not logged again"


def test_a_log_holds_settings_curves_and_scores(photo_folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "r.duckdb"
    run(suite(photo_folder, "topk_sae", "identity", "reporting"), store, log="recording")
    logs = {log["open"]["method"]: log for log in recorded(tmp_path)}
    cells = open_store(store).cells().set_index("method")
    for method, log in logs.items():
        cell = cells.loc[method]
        assert log["open"]["cell_id"] == cell["cell_id"] and log["open"]["id"].startswith(cell["cell_id"])
        assert log["open"]["settings"] == cell["config"] and log["open"]["dataset"] == cell["dataset"]
        assert log["open"]["name"] == f"{cell['label']}, {cell['site']}, token seed 1, init seed 42"
        table = open_store(store).scores(cell_id=cell["cell_id"]).set_index("metric")["value"]
        assert log["scores"]["r2"] == table["r2"] and log["scores"]["l0"] == table["l0"]
        assert log["failed"] is False
    assert set(logs["topk_sae"]["points"]) == stored_points(store, logs["topk_sae"]["open"]["cell_id"])
    assert len(logs["topk_sae"]["points"]) == 8, "two epochs, four series, each once"
    assert logs["identity"]["points"] == []
    points = {(name, step): value for name, step, value in logs["reporting"]["points"]}
    assert points == pytest.approx(
        {("loss", 10): 0.1, ("loss", 20): 0.05, ("my metric", 10): 10.0, ("my metric", 20): 20.0}
    )


def test_points_are_logged_during_the_fit(photo_folder: Path, tmp_path: Path) -> None:
    """The first epoch is in the file before the last one begins."""
    seen: list[int] = []

    class Watching(Silent):
        def progress(self, done: int, total: int, what: str) -> None:
            if "training steps" in what and done == total:
                seen.extend(len(log["points"]) for log in recorded(tmp_path))

    run(suite(photo_folder, "topk_sae"), tmp_path / "r.duckdb", log="recording", reporter=Watching())
    assert seen == [4]


def test_a_method_that_does_not_call_back_has_its_curves_logged_after_the_fit(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = TopKSAE.learn

    def silent(self: TopKSAE, *arguments: Any) -> None:
        self.on_metrics = no_metrics
        learn(self, *arguments)

    monkeypatch.setattr(TopKSAE, "learn", silent)
    store = tmp_path / "r.duckdb"
    run(suite(photo_folder, "topk_sae"), store, log="recording")
    [log] = recorded(tmp_path)
    assert set(log["points"]) == stored_points(store, log["open"]["cell_id"]) != set()


def test_a_loaded_fit_is_logged_with_its_curves_and_new_scores(photo_folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "r.duckdb"
    run(suite(photo_folder, "topk_sae"), store)
    summary = run(suite(photo_folder, "topk_sae", metrics=["l0", "fvu"]), store, log="recording")
    [log] = recorded(tmp_path)
    assert [log["open"]["cell_id"]] == summary.cell_ids
    assert set(log["points"]) == stored_points(store, summary.cell_ids[0]) and len(log["points"]) == 8
    assert "fvu" in log["scores"] and "r2" not in log["scores"]


def test_a_failed_cell_ends_its_log(photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ending, "error", ValueError("as planned"))
    summary = run(suite(photo_folder, "ending"), tmp_path / "r.duckdb", log="recording")
    assert summary.failed == 1
    [log] = recorded(tmp_path)
    assert (log["failed"], log["scores"], log["points"]) == (True, None, [("loss", 1, 0.5)])


def test_an_interrupted_cell_ends_its_log(photo_folder: Path, tmp_path: Path) -> None:
    class Interrupting(Silent):
        def progress(self, done: int, total: int, what: str) -> None:
            if "training steps" in what and done == total:
                raise KeyboardInterrupt

    summary = run(
        suite(photo_folder, "topk_sae"), tmp_path / "r.duckdb", log="recording", reporter=Interrupting()
    )  # fmt: skip
    assert summary.interrupted
    [log] = recorded(tmp_path)
    assert (log["failed"], log["scores"], len(log["points"])) == (True, None, 4)


@pytest.mark.parametrize("at", ["open", "log", "summarise", "close"])
def test_a_log_that_fails_is_said_once_and_fails_no_cell(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    logger = TRAINING_LOGS.get("recording")
    opened: list[str] = []
    real = logger.open

    def count(self: Any, run: LoggedRun) -> None:
        opened.append(run.id)
        real(self, run)

    def full(self: Any, *_: Any, **__: Any) -> None:
        opened.append("")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(logger, "open", count)
    monkeypatch.setattr(logger, at, full)
    listening = Listening()
    store = tmp_path / "r.duckdb"
    summary = run(suite(photo_folder, "topk_sae", seeds=(1, 2)), store, log="recording", reporter=listening)
    assert (summary.finished, summary.failed) == (2, 0)
    said = [sentence.strip() for sentence in listening.said if "No space left on device" in sentence]
    assert len(said) == 1 and said[0].startswith("The training log 'recording'")
    assert len([name for name in opened if name]) <= 1, "the second cell opens no log"
    assert all(
        not note.startswith("The training log") for notes in open_store(store).cells()["notes"] for note in notes
    )


@pytest.mark.parametrize("runner", [run, run_suite])
def test_an_unknown_log_is_refused_before_anything_is_computed(
    photo_folder: Path, tmp_path: Path, runner: Callable[..., Any]
) -> None:
    with pytest.raises(UserError, match=r"There is no training log 'tensorbord'\. Did you mean tensorboard\?"):
        runner(suite(photo_folder, "identity"), tmp_path / "r.duckdb", log="tensorbord")
    assert list(tmp_path.iterdir()) == []


def test_the_command_refuses_and_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = harness("run", "--log", "wandbb", "--store", "r.duckdb", cwd=tmp_path, code=2)
    assert "There is no training log 'wandbb'" in refused.stderr and "Traceback" not in refused.stderr
    monkeypatch.setattr(TRAINING_LOGS.get("trackio"), "package", "no_such_package")
    missing = harness("run", "--log", "trackio", "--store", "r.duckdb", cwd=tmp_path, code=2)
    assert "disentanglement-harness[log-trackio]" in " ".join(missing.stderr.split())
    assert not (tmp_path / "r.duckdb").exists()
    names = {row["name"] for row in json.loads(harness("list", "logs", "--json", cwd=tmp_path).stdout)}
    assert {"wandb", "tensorboard", "trackio"} <= names


def test_the_logger_of_the_plugin_page_works(photo_folder: Path, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "plugins.md").read_text()
    [code] = [block for block in re.findall(r"```py\n(.*?)```", page, flags=re.DOTALL) if "TRAINING_LOGS" in block]
    file = tmp_path / "my_log.py"
    file.write_text(code)
    module = load_plugin_file(file)
    try:
        run(suite(photo_folder, "topk_sae"), tmp_path / "r.duckdb", log="printed")
    finally:
        forget(module)
    [written] = tmp_path.glob("logs/printed/*.txt")
    [cell_id] = open_store(tmp_path / "r.duckdb").cells()["cell_id"]
    steps = sorted({step for _, step, _ in stored_points(tmp_path / "r.duckdb", cell_id)})
    assert [int(line.split()[0]) for line in written.read_text().splitlines()] == steps and len(steps) == 2


def test_a_label_is_no_path_and_controls_no_terminal(photo_folder: Path, tmp_path: Path) -> None:
    label = "../../up/\x1b[31mred\x07 " + "long " * 40
    wanted = suite_of(
        photo_folder,
        seeds={"tokens": [1]},
        evaluation={"top_images": 4, "batch_size": 18, "metrics": ["r2"]},
        methods=[{"name": "identity", "label": label}],
    )
    listening = Listening()
    run(wanted, tmp_path / "r.duckdb", log="recording", reporter=listening)
    [log] = recorded(tmp_path)
    assert log["open"]["name"].isprintable() and len(log["open"]["name"]) <= 120
    assert log["open"]["name"].endswith(", token seed 1, init seed 42")
    [file] = tmp_path.glob("logs/recording/*")
    assert file.name.isprintable() and file.suffix == ".jsonl"


def executor(name: str) -> Executor:
    if name == "processes":
        return Processes(2)
    pytest.importorskip("ray", reason="needs the extra: pip install 'disentanglement-harness[ray]'")
    return create("ray", workers=2, threads=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["processes", "ray"])
def test_workers_write_separate_logs(photo_folder: Path, tmp_path: Path, name: str) -> None:
    store = tmp_path / "r.duckdb"
    wanted = suite(photo_folder, "topk_sae", "identity", seeds=(1, 2))
    with executor(name) as opened:
        summary = run(wanted, store, log="recording", executor=opened)
    assert (summary.finished, summary.failed) == (4, 0)
    logs = recorded(tmp_path)
    assert sorted(log["open"]["cell_id"] for log in logs) == sorted(summary.cell_ids)
    for log in logs:
        assert set(log["points"]) == stored_points(store, log["open"]["cell_id"])
        assert log["failed"] is False and "r2" in log["scores"]
    assert len({log["open"]["process"] for log in logs}) == 2
