"""The ray executor with a real local Ray of two workers: the same results as local, whatever dies on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch
from fake_ray import FakeRay
from paths import ROOT, SUPPORT
from plugins import clean_registries
from small_runs import Stop, scores, suite_of
from typer.testing import CliRunner

from harness import executors
from harness.cells.run_cell import CellContext
from harness.cli import app
from harness.errors import UserError
from harness.executors import worker
from harness.executors.base import EXECUTORS, Executor
from harness.executors.ray import Ray
from harness.executors.ray_dispatch import Cluster
from harness.progress import Silent
from harness.run import RunSummary, run
from harness.suites import Suite, load_suite, parse_suite, suite_names
from methods.plugin_files import load_plugin_file
from results import open_store
from results.store.liveness import run_states
from results.store.records import DEVICE_UNITS

pytestmark = pytest.mark.run

PLUGIN = SUPPORT / "cluster_plugin.py"


@pytest.fixture(scope="module")
def workers() -> Iterator[Executor]:
    """Two workers of one thread each; the plugin is loaded here too, and forgotten afterwards."""
    pytest.importorskip("ray", reason="needs the extra: pip install 'disentanglement-harness[ray]'")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with clean_registries(), executors.create("ray", workers=2, threads=1) as opened:
        load_plugin_file(PLUGIN)
        yield opened
    torch.set_num_threads(threads)


class Listening(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def mixed(folder: Path, once: Path) -> Suite:
    """Four targets; one fit that two cells need; one method whose worker dies the first time."""
    split = {"name": "random_split", "config": {"parts": 2}}
    trained = {"name": "topk_sae", "config": {"expansion_factor": 2, "k": 4, "epochs": 2, "batch_size": 64}}
    mortal = {"name": "mortal", "config": {"once": str(once)}}
    targets = [
        {"backbone": "tiny_vit", "methods": [mortal, trained], "token_seeds": [1]},
        {"backbone": "tiny_vit", "methods": [{"name": "identity"}, split]},
        {"backbone": "tiny_cnn", "head": "own", "methods": [split], "token_seeds": [1]},
        {"backbone": "tiny_cnn", "head": "probe", "methods": [split], "token_seeds": [1]},
    ]
    return suite_of(folder, targets=targets)


class Pair(NamedTuple):
    """The same suite by both executors."""

    suite: Suite
    ray: Path
    local: Path
    ray_summary: RunSummary
    local_summary: RunSummary
    said: list[str]


@pytest.fixture(scope="module")
def pair(workers: Executor, photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("pair")
    suite = mixed(photo_folder, folder / "killed-once")
    listening = Listening()
    by_ray = run(suite, folder / "ray" / "r.duckdb", executor=workers, reporter=listening)
    by_local = run(suite, folder / "local" / "r.duckdb")
    return Pair(suite, folder / "ray" / "r.duckdb", folder / "local" / "r.duckdb", by_ray, by_local, listening.said)


def whole(store: Path, table: str) -> pd.DataFrame:
    """A table in an order of its own, without what depends on the moment."""
    frame = open_store(store).query(f"SELECT * FROM {table}")
    moments = ["run_id", "started_at", "seconds", "fit_seconds", "measured_at", "notes"]
    frame = frame.drop(columns=[name for name in moments if name in frame])
    if table == "scores":
        frame = frame[~frame["unit"].isin(DEVICE_UNITS)]
    keys = [
        name for name in ("cell_id", "group_id", "metric", "unit", "series", "step", "params_hash") if name in frame
    ]
    return frame.sort_values(keys).reset_index(drop=True)


@pytest.mark.slow
def test_two_workers_and_one_process_find_the_same(pair: Pair) -> None:
    assert pair.ray_summary[1:] == pair.local_summary[1:]
    assert pair.ray_summary.finished == 8 and pair.ray_summary.failed == 0
    for table in ("cells", "scores", "units", "curves", "group_scores", "images"):
        keys = {"images": ["dataset", "index"]}.get(table)
        one, other = whole(pair.ray, table), whole(pair.local, table)
        if keys:
            one, other = (frame.sort_values(keys).reset_index(drop=True) for frame in (one, other))
        assert len(one), table
        # To the bit where every process has one core to itself; two cores let convolutions round another way.
        pd.testing.assert_frame_equal(one, other, check_exact=False, rtol=1e-6, atol=1e-6)
    for artifact in open_store(pair.local).cells().artifact:
        assert (pair.ray.parent / artifact).read_bytes() == (pair.local.parent / artifact).read_bytes()


@pytest.mark.slow
def test_a_cell_whose_worker_was_killed_is_handed_out_again(pair: Pair) -> None:
    [again] = [sentence for sentence in pair.said if "its worker process died" in sentence]
    assert again.startswith("  mortal (token seed 1, ") and "Attempt 2 of 3" in again
    cells = open_store(pair.ray).cells()
    assert cells[cells.method == "mortal"].status.tolist() == ["finished"]


@pytest.mark.slow
def test_a_fit_that_two_cells_need_is_made_once(pair: Pair) -> None:
    for store in (pair.ray, pair.local):
        cells = open_store(store).cells()
        twins = cells[cells.backbone == "tiny_cnn"]
        assert len(twins) == 2 and twins.fit_id.nunique() == 1 and twins.cell_id.nunique() == 2
        assert sum("Fitted by the cell" in " ".join(notes) for notes in twins.notes) == 1


@pytest.mark.slow
def test_the_run_says_who_computed(pair: Pair) -> None:
    [row] = open_store(pair.ray).runs().to_dict("records")
    assert row["versions"]["threads"] == "1" and row["versions"]["ray"]
    assert "Ray: 2 workers on 1 machine" in row["device"] and row["status"] == "finished"
    assert not list(pair.ray.parent.glob("*.running")) and not list((pair.ray.parent / "work").glob("*"))


@pytest.mark.slow
def test_what_raises_and_what_keeps_dying_fails_alone(workers: Executor, photo_folder: Path, tmp_path: Path) -> None:
    suite = suite_of(photo_folder, "mortal", "raising", "identity", seeds={"tokens": [1]})
    assert isinstance(workers, Ray)
    retries, workers.retries = workers.retries, 1
    try:
        summary = run(suite, tmp_path / "r.duckdb", executor=workers)
    finally:
        workers.retries = retries
    assert (summary.finished, summary.failed, summary.interrupted) == (1, 2, False)
    cells = open_store(tmp_path / "r.duckdb").cells().set_index("method")
    assert cells.error_type["raising"] == "RuntimeError" and cells.error_message["raising"] == "no more ideas"
    assert "in fit" in cells.traceback["raising"]
    assert cells.error_type["mortal"] == "WorkerDied"
    assert cells.error_message["mortal"].startswith("Given up after 2 attempts: its worker process died")


@pytest.mark.slow
def test_what_keeps_a_target_from_starting_fails_its_cells(
    workers: Executor, photo_folder: Path, tmp_path: Path
) -> None:
    """The disk of the cache has no room that a file could have: the workers say it, the other run is not touched."""
    suite = suite_of(photo_folder, "identity", seeds={"tokens": [1]}, probing={"crops": 2, "tokens_per_image": 8})
    (tmp_path / "cache" / "baselines").mkdir(parents=True)
    (tmp_path / "cache" / "heads").write_text("no folder")
    summary = run(suite, tmp_path / "r.duckdb", executor=workers)
    assert (summary.finished, summary.failed) == (0, 1)
    [cell] = open_store(tmp_path / "r.duckdb").cells().to_dict("records")
    assert cell["error_type"] == "UserError" and "--cache" in cell["error_message"]


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_ends_up_identical(pair: Pair, workers: Executor, tmp_path: Path) -> None:
    store = tmp_path / "r.duckdb"
    first = run(pair.suite, store, executor=workers, reporter=Stop(3))
    assert first.interrupted and first.finished == 3
    assert [state.state for state in run_states(open_store(store))] == ["interrupted"]
    second = run(pair.suite, store, executor=workers)
    assert (second.kept, second.finished) == (3, 5)
    pd.testing.assert_frame_equal(scores(store), scores(pair.local), check_exact=False, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_the_handlers_of_signals_stay_ours(workers: Executor) -> None:
    """Ray sets one of its own for SIGTERM, which ends the process without a word to the store."""
    workers.device_name("cpu")
    assert "ray" not in str(getattr(signal.getsignal(signal.SIGTERM), "__module__", ""))
    # A shell starts what it puts into the background with SIGINT ignored.
    assert signal.getsignal(signal.SIGINT) in (signal.default_int_handler, signal.SIG_IGN)


@pytest.mark.slow
def test_a_driver_that_is_killed_takes_its_workers_along(pair: Pair, photo_folder: Path, tmp_path: Path) -> None:
    """And its run reads as died, and the next one goes on."""
    store = tmp_path / "r.duckdb"
    program = textwrap.dedent(
        f"""
        import json, sys
        sys.path.insert(0, {str(SUPPORT)!r})
        from methods.plugin_files import load_plugin_file
        load_plugin_file({str(PLUGIN)!r})
        from harness import executors
        from harness.run import run
        from harness.suites import parse_suite
        suite = parse_suite(json.loads({json.dumps(pair.suite.model_dump(mode="json"))!r}))
        with executors.create("ray", workers=1, threads=1) as opened:
            run(suite, {str(store)!r}, executor=opened)
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    try:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and process.poll() is None:
            if store.exists() and "finished" in open_store(store).statuses().values():
                break
            time.sleep(0.05)
        assert [state.state for state in run_states(open_store(store))] == ["running"]
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert [state.state for state in run_states(open_store(store))] == ["died"]
    kept = list(open_store(store).statuses().values()).count("finished")
    listening = Listening()
    summary = run(pair.suite, store, reporter=listening)
    assert summary.kept == kept >= 1 and summary.finished == 8 - kept
    assert [state.state for state in run_states(open_store(store))] == ["died", "finished"]
    assert any("was killed" in sentence for sentence in listening.said)
    pd.testing.assert_frame_equal(scores(store), scores(pair.local), check_exact=False, rtol=1e-6, atol=1e-6)
    assert not list(tmp_path.glob("*.running"))


# ---- without Ray


@pytest.mark.parametrize("name", [name for name in suite_names() if not name.startswith("_")])
def test_a_suite_arrives_as_it_was_sent(name: str) -> None:
    for leaf in load_suite(name).leaves:
        for target in leaf.targets:
            sent = leaf.model_copy(update={"targets": (target,)})
            assert parse_suite(json.loads(worker.suite_text(leaf, target))) == sent


def test_a_machine_that_does_not_see_the_folder_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PATIENCE_S", 0.0)
    place = CellContext("this-run", "s", "cpu", tmp_path)
    given = worker.Order("{}", (), place, tmp_path / "cache", tmp_path / "r.duckdb.this-run.running", str(Path.cwd()))
    threads = worker.Resources(torch.get_num_threads(), gpu=False)
    for content in (None, "another run"):
        if content:
            given.mark.write_text(content)
        with pytest.raises(UserError, match=r"does not see the folder .* harness merge"):
            worker.compute(given, threads, "cell", ())
    assert not (tmp_path / "cache").exists()


def test_options_that_make_no_sense_are_refused() -> None:
    for options, match in (
        ({"workers": 0}, "--workers 0"),
        ({"threads": -1}, "--threads -1"),
        ({"gpu_share": 1.5}, "--gpu-share 1.5"),
        ({"retries": -1}, "--retries -1"),
        ({"fit_parts": 0}, "--fit-parts 0"),
    ):
        with pytest.raises(UserError, match=match):
            executors.create("ray", **options)
    with pytest.raises(UserError, match=r"--workers is no option of --executor local.*belongs to --executor ray"):
        executors.create("local", workers=2)
    with pytest.raises(UserError, match="Did you mean ray"):
        executors.create("rey")
    pytest.importorskip("ray")
    with pytest.raises(UserError, match="--device cuda:1"):
        Ray().planning_device("cuda:1")


@pytest.mark.parametrize(
    ("address", "gpu_share", "ends"), [(None, 1.0, True), (None, 0.0, False), ("10.0.0.1:6379", 1.0, False)]
)
def test_own_workers_on_gpus_are_ended_before_judges_start(
    monkeypatch: pytest.MonkeyPatch, address: str | None, gpu_share: float, ends: bool
) -> None:
    calls: list[str] = []
    monkeypatch.setattr("harness.executors.ray._import", lambda: SimpleNamespace(shutdown=lambda: calls.append("end")))
    executor = Ray(address=address)
    executor._started, executor._cluster = True, Cluster(1, 1, 0, 1, 1, gpu_share)
    executor.release()
    assert calls == ["end"] * ends and (executor._cluster is None) == ends


def test_without_ray_the_command_that_brings_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    store = tmp_path / "r.duckdb"
    done = CliRunner().invoke(app, ["run", "--executor", "ray", "--store", str(store)])
    assert done.exit_code != 0 and not store.exists()
    assert "pip install" in str(done.exception) + done.output


def test_every_executor_says_what_it_is() -> None:
    assert EXECUTORS.names() == ["local", "ray"]
    assert all(entry.load().description for entry in EXECUTORS)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_cells_ask_for_what_they_need(photo_folder: Path, tmp_path: Path, share: float) -> None:
    """GPU share, threads and memory; a cell that is timed has its machine to itself, and nothing exceeds a machine."""
    from harness.cells.plan import cells_of, prepare
    from harness.cells.run_cell import Failure
    from harness.executors.base import TargetWork, Work
    from harness.executors.ray_dispatch import Cluster, Dispatch

    metrics = ["r2", "efficiency_ratio"]
    plain = suite_of(photo_folder, "identity", "random_split", seeds={"tokens": [1]})
    timed = suite_of(photo_folder, "identity", seeds={"tokens": [1]}, evaluation={"metrics": metrics, "top_images": 6})
    prepared = prepare(plain, device="cpu")
    for suite, alone in ((plain, False), (timed, True)):
        [target] = prepared
        cells = tuple(cells_of(suite, prepared))
        place = CellContext("run", "s", "cpu", tmp_path)
        work = Work(
            suite, (TargetWork(target, cells),), "auto", place, tmp_path, tmp_path / "m", Silent(), lambda: None,
            lambda cell: (),
        )  # fmt: skip
        weights = sum(p.numel() * p.element_size() for p in target.backbone.model.parameters())

        def answer(function: Any, arguments: Any) -> Any:
            if function is worker.open_target:
                return worker.Answer({}, 7_000_000)
            return Failure("Odd", "not computed", "")

        memory = 2**30 + 2 * weights + 5_000_000
        fake = FakeRay(answer)
        events = list(Dispatch(fake, Cluster(1, 8, memory, 2, 3, share), work, 0).events())
        assert len(events) == 1 + len(cells) and fake.most <= 2 and not fake.cancelled
        opening, *rest = fake.asked
        assert opening["memory"] == 2**30 + 2 * weights and opening.get("num_gpus", 0) == share
        for asked in rest:
            assert asked["max_retries"] == 0
            assert asked["memory"] == memory, "more than any machine has would never be placed"
            assert asked["num_cpus"] == (8 if alone else 3)
            assert asked.get("num_gpus", 0) == (0 if not share else 1 if alone else 0.5)
