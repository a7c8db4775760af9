"""Workers side by side: the same numbers as one process, a worker that dies, one that is told to stop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from paths import SUPPORT
from plugins import clean_registries
from process_judges import is_running

from harness.devices import default_workers
from harness.errors import UserError
from harness.executors.processes import THREADS, Processes
from harness.progress import Silent
from harness.run import run
from harness.run.sweep import sweep
from harness.suites import Suite, parse_suite
from methods.plugin_files import load_plugin_file
from results import open_store

pytestmark = pytest.mark.run

#: In a worker it registers what tests/conftest.py registers here, and methods that end badly.
PLUGIN = f"""
import os, sys, time
sys.path.insert(0, {str(SUPPORT)!r})
import tiny_backbones
import methods
from methods.identity import Identity

def odd(name, act):
    class Odd(Identity):
        spec = Identity.spec._replace(name=name, title=name)
        def fit(self, tokens, site, *, seed=42, device="cpu", progress=lambda *_: None):
            act(progress)
            return super().fit(tokens, site, seed=seed, device=device, progress=progress)
    methods.register(Odd)

def wait(progress):
    open(os.environ["WORKER_STARTED"], "w").close()
    while True:
        time.sleep(0.05)
        progress(1, 2, "waiting")

odd("odd_killed", lambda progress: os.kill(os.getpid(), 9))
odd("odd_threads", lambda progress: 1 / (os.environ["OMP_NUM_THREADS"] != "1"))
odd("odd_waits", wait)
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    file = tmp_path_factory.mktemp("plugin") / "worker_plugin.py"
    file.write_text(PLUGIN)
    with clean_registries():
        load_plugin_file(file)
        yield


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny(folder: Path, methods: list[Any]) -> Suite:
    values = {
        "name": "tiny",
        "data": {"dataset": f"folder:{folder}", "evaluation": 12},
        "evaluation": {"top_images": 4, "metrics": ["l0", "r2"]},
        "targets": [{"backbone": "tiny_vit"}],
        "methods": methods,
    }
    return parse_suite(values)


def test_a_worker_gives_the_scores_of_this_process(
    plugin: None, one_thread: None, photo_folder: Path, tmp_path: Path
) -> None:
    suite = tiny(photo_folder, [{"name": "topk_sae", "config": {"k": 3, "epochs": 1, "expansion_factor": 2}}])
    stores = [open_store(tmp_path / name / "r.duckdb") for name in ("worker", "here")]
    run(suite, stores[0].path, device="cpu", executor=Processes(1))
    run(suite, stores[1].path, device="cpu")
    scores = [store.scores().set_index("metric")["value"].loc[["l0", "r2"]] for store in stores]
    assert scores[0].tolist() == scores[1].tolist()


@pytest.mark.slow
def test_the_same_sweep_whatever_the_workers(
    plugin: None, one_thread: None, photo_folder: Path, tmp_path: Path
) -> None:
    suite = tiny(photo_folder, [{"name": "topk_sae", "config": {"k": 3, "batch_size": 32}}])
    given: dict[str, Any] = {"families": ["topk_sae"], "overrides": {"epochs": 1, "expansion_factor": 2}}
    before = [os.environ.get(name) for name in THREADS]
    two = sweep(suite, tmp_path / "two" / "r.duckdb", workers=2, device="cpu", **given)
    assert [os.environ.get(name) for name in THREADS] == before, "what workers are told is not left behind"
    one = sweep(suite, tmp_path / "one" / "r.duckdb", device="cpu", **given)
    assert two.summary.finished == one.summary.finished == 9
    assert two.candidates == one.candidates and two.summary.cell_ids == one.summary.cell_ids
    fits = {file.name: file.read_bytes() for file in (tmp_path / "one" / "artifacts").iterdir()}
    assert {file.name: file.read_bytes() for file in (tmp_path / "two" / "artifacts").iterdir()} == fits
    runs = open_store(tmp_path / "two" / "r.duckdb").runs()
    assert runs["versions"][0]["workers"] == "2" and runs["versions"][0]["threads"] == "1"
    again = sweep(suite, tmp_path / "two" / "r.duckdb", workers=2, device="cpu", **given)
    assert again.summary.kept == 9 and again.candidates == two.candidates


@pytest.mark.slow
def test_a_worker_that_dies_fails_its_cell_alone_and_an_interruption_ends_the_rest(
    plugin: None, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tmp_path / "started"
    monkeypatch.setenv("WORKER_STARTED", str(started))

    class Interrupting(Silent):
        def __init__(self) -> None:
            self.cells: dict[str, str] = {}

        def cell(self, title: str, outcome: str) -> None:
            self.cells[title.split()[1]] = outcome  # after its number, as 1/4

        def progress(self, done: int, total: int, what: str) -> None:
            if what.endswith("waiting"):
                raise KeyboardInterrupt

    heard, executor = Interrupting(), Processes(1)
    suite = tiny(photo_folder, [{"name": name} for name in ("odd_killed", "identity", "odd_threads", "odd_waits")])
    summary = run(suite, tmp_path / "r.duckdb", device="cpu", executor=executor, reporter=heard)
    assert "WorkerDied: its worker process ended" in heard.cells["odd_killed"]
    assert "ZeroDivisionError" in heard.cells["odd_threads"], "a worker has one thread"
    assert started.exists() and summary.interrupted and (summary.finished, summary.failed) == (1, 2)
    assert executor._idle == [], "the one that was at work was ended"
    store = open_store(tmp_path / "r.duckdb")
    assert store.runs()["status"].tolist() == ["interrupted"]
    cells = store.cells().set_index("method")
    assert set(cells.index) == {"odd_killed", "identity", "odd_threads"}, "the cell in flight left no row"
    assert cells.loc["odd_killed", "status"] == "failed" and "memory" in cells.loc["odd_killed", "error_message"]
    assert "in fit" in cells.loc["odd_threads", "traceback"]


def test_idle_workers_are_ended_before_judges_start() -> None:
    executor = Processes(1)
    worker = executor._start()
    executor._idle.append(worker)
    executor.release()
    assert executor._idle == [] and not is_running(worker.process_id)


def test_how_many_workers() -> None:
    assert default_workers("cpu") >= 1
    with pytest.raises(UserError, match="workers = 0"):
        Processes(0)
    assert "NUMBA_NUM_THREADS" in THREADS
