"""Runs that share a store share its cells: real processes, one of them killed, one of them suspended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from paths import ROOT, SUPPORT
from small_runs import few_metrics, scores

from harness.cells import fit
from harness.progress import Silent
from harness.run import RunSummary, run
from results import open_store
from results.store.claims import claims_dir
from results.store.liveness import run_states

pytestmark = pytest.mark.run

METHODS = ("identity", "random_split", "topk_sae", "elude")


class Nested(Silent):
    """Starts another run on the store as soon as the first cell of this one has ended."""

    def __init__(self, start: Callable[[], RunSummary]) -> None:
        self.start_run = start
        self.other: RunSummary | None = None
        self.cells: list[str] = []

    def cell(self, title: str, outcome: str) -> None:
        self.cells.append(outcome)
        if self.other is None:
            self.other = self.start_run()


@pytest.mark.parametrize("rerun", [False, True])
def test_a_run_keeps_what_another_one_has_computed_meanwhile(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rerun: bool
) -> None:
    store, suite = tmp_path / "r.duckdb", few_metrics(photo_folder)
    if rerun:
        assert run(suite, store).finished == 4
    n_fits = 0

    def counted(*arguments: Any) -> Any:
        nonlocal n_fits
        n_fits += 1
        return cost_of(*arguments)

    cost_of = fit.cost_of
    monkeypatch.setattr(fit, "cost_of", counted)
    nested = Nested(lambda: run(suite, store, rerun=rerun))
    first = run(suite, store, rerun=rerun, reporter=nested)
    assert nested.other is not None
    # With --rerun the cell of the first run is older than the second run: it is computed again.
    expected = (1, 3, 0, 4, 0) if rerun else (1, 3, 0, 3, 1)
    other = nested.other
    assert (first.finished, first.elsewhere, first.failed, other.finished, other.kept) == expected
    assert n_fits == first.finished + other.finished
    assert [f"computed by the run {other.run_id}" in outcome for outcome in nested.cells] == [False, True, True, True]
    assert {state.state for state in run_states(open_store(store))} == {"finished"}
    assert not claims_dir(store).exists()


def started(pictures: Path, store: Path, log: Path, lease: float, seconds: float) -> subprocess.Popen[str]:
    program = SUPPORT / "shared_run.py"
    paths = os.pathsep.join([str(program.parent), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(program), str(pictures), str(store), str(log), str(lease), str(seconds), *METHODS]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return dict(json.loads(out))


def lines(log: Path, word: str, process: int | None = None) -> list[str]:
    found = [line.split(maxsplit=2) for line in log.read_text().splitlines()] if log.exists() else []
    return [" ".join(rest) for who, what, *rest in found if what == word and process in (None, int(who))]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def single(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The scores of one run."""
    folder = tmp_path_factory.mktemp("single")
    assert ended(started(photo_folder, folder / "r.duckdb", folder / "log", 60, 0))["finished"] == 8
    return scores(folder / "r.duckdb")


def check_store(store: Path, single: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(scores(store), single, check_exact=True)
    assert not list((store.parent / "work").glob("*")) and not claims_dir(store).exists()


@pytest.mark.slow
def test_two_runs_compute_each_cell_once(photo_folder: Path, tmp_path: Path, single: pd.DataFrame) -> None:
    store, log = tmp_path / "r.duckdb", tmp_path / "log"
    pair = [started(photo_folder, store, log, 60, 0.7) for _ in range(2)]
    counts = [ended(process) for process in pair]
    assert sum(each["finished"] for each in counts) == 8 and min(each["finished"] for each in counts) >= 1
    assert all(each["finished"] + each["elsewhere"] <= 8 and not each["interrupted"] for each in counts)
    assert len(lines(log, "fit")) == 8
    assert set(Counter(lines(log, "writes")).values()) == {1} and len(lines(log, "writes")) == 8
    check_store(store, single)


@pytest.mark.slow
def test_the_cells_of_a_killed_run_are_taken_over(photo_folder: Path, tmp_path: Path, single: pd.DataFrame) -> None:
    store, log = tmp_path / "r.duckdb", tmp_path / "log"
    victim = started(photo_folder, store, log, 600, 1.5)
    wait_for(lambda: len(lines(log, "fit")) > len(lines(log, "fitted")))
    other = started(photo_folder, store, log, 600, 0)
    wait_for(lambda: len(lines(log, "starts")) == 2 and len(lines(log, "fit", victim.pid)) > 1)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    counts = ended(other)
    assert counts["finished"] + counts["elsewhere"] <= 8 and counts["failed"] == 0
    check_store(store, single)


@pytest.mark.slow
def test_a_suspended_run_that_comes_back_damages_nothing(
    photo_folder: Path, tmp_path: Path, single: pd.DataFrame
) -> None:
    store, log = tmp_path / "r.duckdb", tmp_path / "log"
    sleeper = started(photo_folder, store, log, 2, 1.0)
    wait_for(lambda: len(lines(log, "fit", sleeper.pid)) > len(lines(log, "fitted", sleeper.pid)))
    sleeper.send_signal(signal.SIGSTOP)
    try:
        counts = ended(started(photo_folder, store, log, 2, 0))
        assert counts["finished"] == 8, "all of them were taken over"
    finally:
        sleeper.send_signal(signal.SIGCONT)
    back = ended(sleeper)
    assert (back["finished"], back["failed"], back["elsewhere"]) == (0, 0, 8)
    assert set(Counter(lines(log, "writes")).values()) == {1}
    check_store(store, single)
