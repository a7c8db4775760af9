"""A store that another process holds, that is read-only or on a full disk: no computed cell is lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from small_runs import few_metrics, scores

from harness.progress import Silent
from harness.run import outbox, run
from results import open_store
from results.errors import StoreUnavailableError
from results.store.liveness import run_states
from results.store.spool import spool_dir, spooled, waiting_sentence

pytestmark = pytest.mark.run

HOLDER = """
import duckdb, sys
opened = duckdb.connect(sys.argv[1])
opened.execute("CREATE TABLE IF NOT EXISTS held (i INTEGER)")
print("held", flush=True)
sys.stdin.readline()
"""


class Holder:
    """Process that holds a store exclusively until it is told to end."""

    def __init__(self, store: Path) -> None:
        command = [sys.executable, "-c", HOLDER, str(store)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None and self.process.stdout.readline() == "held\n"

    def release(self) -> None:
        self.process.communicate("\n")


class Events(Silent):
    """Calls a function for each ended cell and each sentence."""

    def __init__(self, on_cell: Callable[[int], None], on_sentence: Callable[[str], None] = lambda _: None) -> None:
        self.on_cell, self.on_sentence = on_cell, on_sentence
        self.cells: list[str] = []
        self.said: list[str] = []

    def cell(self, title: str, outcome: str) -> None:
        self.cells.append(outcome)
        self.on_cell(len(self.cells))

    def say(self, sentence: str) -> None:
        self.said.append(sentence)
        self.on_sentence(sentence)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "SPOOL_AFTER_S", 0.02)
    monkeypatch.setattr(outbox, "TELL_AFTER_S", 0.05)
    monkeypatch.setattr(outbox, "_READ_S", 0.05)
    monkeypatch.setattr(outbox, "_POLL_S", 0.02)
    monkeypatch.setattr("harness.run.loop._END_PATIENCE_S", 0.02)


@pytest.fixture(scope="module")
def undisturbed(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    store = tmp_path_factory.mktemp("undisturbed") / "r.duckdb"
    run(few_metrics(photo_folder), store)
    return scores(store)


@pytest.fixture
def holders() -> Iterator[list[Holder]]:
    held: list[Holder] = []
    yield held
    for holder in held:
        holder.process.kill()
        holder.process.communicate()


def test_a_store_held_for_longer_than_the_patience_gets_every_result(
    photo_folder: Path, tmp_path: Path, holders: list[Holder], undisturbed: pd.DataFrame
) -> None:
    store = tmp_path / "r.duckdb"
    on_disk: list[int] = []

    def on_cell(number: int) -> None:
        if number == 1:
            holders.append(Holder(store))
        else:
            on_disk.append(len(spooled(store)))

    def on_sentence(sentence: str) -> None:
        if "No cell is left" in sentence:
            holders[0].release()

    events = Events(on_cell, on_sentence)
    summary = run(few_metrics(photo_folder), store, reporter=events)
    assert (summary.finished, summary.failed, summary.waiting, summary.interrupted) == (4, 0, 0, False)
    assert on_disk == [1, 2, 3], "each result is on disk before the next cell begins"
    [told] = [sentence for sentence in events.said if "has held" in sentence]
    assert f"Process {holders[0].process.pid} has held {store} since" in told, "who, and since when, once"
    assert any("3 results that waited were recorded" in sentence for sentence in events.said)
    pd.testing.assert_frame_equal(scores(store), undisturbed, check_exact=True)
    assert not spool_dir(store).exists() and [s.state for s in run_states(open_store(store))] == ["finished"]


def test_an_interrupted_wait_ends_at_once_and_the_next_run_takes_the_results_in(
    photo_folder: Path, tmp_path: Path, holders: list[Holder], undisturbed: pd.DataFrame
) -> None:
    store, suite = tmp_path / "r.duckdb", few_metrics(photo_folder)

    def on_sentence(sentence: str) -> None:
        if "No cell is left" in sentence:
            raise KeyboardInterrupt

    events = Events(lambda number: holders.append(Holder(store)) if number == 2 else None, on_sentence)
    summary = run(suite, store, reporter=events)
    assert (summary.finished, summary.waiting, summary.interrupted) == (4, 2, True)
    assert f"2 results could not be recorded and are kept in {spool_dir(store)}." in events.said
    assert "2 finished results wait" in str(waiting_sentence(store))
    holders[0].release()
    later = Events(lambda number: None)
    again = run(suite, store, reporter=later)
    assert (again.finished, again.kept, again.waiting) == (0, 4, 0)
    assert "2 results that waited beside the store were recorded." in later.said
    assert not any("was killed" in sentence for sentence in later.said), "the first run ended, and said so"
    assert [s.state for s in run_states(open_store(store))] == ["interrupted", "finished"]
    pd.testing.assert_frame_equal(scores(store), undisturbed, check_exact=True)
    assert len(open_store(store).query("SELECT * FROM images")) == 18


def test_a_full_disk_is_one_sentence_and_the_run_ends_as_interrupted(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, suite = tmp_path / "r.duckdb", few_metrics(photo_folder)

    def full(*_: Any, **__: Any) -> Any:
        raise StoreUnavailableError("No space left on device.")

    def on_cell(number: int) -> None:
        monkeypatch.setattr("results.store.connection.writing", full)
        monkeypatch.setattr(outbox, "spool", full)

    events = Events(on_cell)
    summary = run(suite, store, reporter=events)
    assert (summary.finished, summary.failed, summary.interrupted) == (1, 0, True)
    assert [sentence for sentence in events.said if "No space" in sentence] == [
        "No space left on device. Free some space, or make the folder writable, and run the same command again."
    ]
    assert "1 result could not be written at all; its cell is computed again by the next run." in events.said
    monkeypatch.undo()
    assert run(suite, store).finished == 3
