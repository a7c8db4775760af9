"""The store and several processes: looking never stops a run, a run never stops looking, a kill loses one cell."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

from results import CellRecord, Store, StoreError, open_store
from results.store import connection

pytestmark = pytest.mark.run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "results.duckdb", read_only=False)


def cell(cell_id: str = "cell-a") -> CellRecord:
    return CellRecord(cell_id=cell_id, status="finished", backbone="vits", site="fc", method="elude")


PROGRAM = """
import sys
import numpy as np, pandas as pd
from results import CellRecord, ScoreRecord, open_store

def record(store, name, n=200):
    cell = CellRecord(cell_id=name, status="finished", backbone="b", site="s", method="m")
    scores = [ScoreRecord(metric=f"m{i}", value=float(i)) for i in range(3)]
    store.record(cell, scores, pd.DataFrame({"unit": np.arange(n), "top_image": list(np.zeros((n, 5), dtype=int))}))

"""


def start(body: str, *args: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM + textwrap.dedent(body), *map(str, args)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output(process: subprocess.Popen[str]) -> str:
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    return out


def test_a_killed_writer_loses_at_most_the_cell_in_flight(tmp_path: Path) -> None:
    path = tmp_path / "results.duckdb"
    body = """
        store = open_store(sys.argv[1], read_only=False)
        for index in range(10_000):
            record(store, f"{sys.argv[2]}-{index}")
            print(f"{sys.argv[2]}-{index}", flush=True)
    """
    chance = random.Random(0)
    committed: set[str] = set()
    for round_ in range(4):
        process = start(body, path, round_)
        assert process.stdout is not None
        committed.add(process.stdout.readline().strip())
        time.sleep(chance.uniform(0.0, 0.25))
        process.kill()
        committed |= {line.strip() for line in process.stdout if line.endswith("\n")}
        process.communicate()
        store = open_store(path)
        there = set(store.statuses())
        assert committed <= there
        # The last cell may be committed without having been printed; no other can.
        assert len(there) - len(committed) <= round_ + 1
        whole = store.query(
            "SELECT (SELECT count(*) FROM scores s WHERE s.cell_id = c.cell_id) AS scores, "
            "(SELECT count(*) FROM units u WHERE u.cell_id = c.cell_id) AS units FROM cells c"
        )
        assert set(whole["scores"]) == {3} and set(whole["units"]) == {200}
    open_store(path, read_only=False).record(cell("after"))
    assert "after" in open_store(path).statuses()


def test_a_writer_killed_while_it_makes_the_file_leaves_none_or_a_whole_one(tmp_path: Path) -> None:
    body = """
        print("ready", flush=True)
        for index in range(10_000):
            open_store(f"{sys.argv[1]}/{index}.duckdb", read_only=False)
    """
    chance = random.Random(1)
    for round_ in range(2):
        folder = tmp_path / str(round_)
        process = start(body, folder)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.1, 0.4))
        process.kill()
        process.communicate()
        for path in folder.glob("[0-9]*.duckdb"):
            assert open_store(path).statuses() == {}


def test_two_writers_and_a_reader_in_a_tight_loop_all_succeed(tmp_path: Path) -> None:
    path = tmp_path / "results.duckdb"
    writer = """
        import time
        store = open_store(sys.argv[1], read_only=False)
        slowest = 0.0
        for index in range(15):
            started = time.monotonic()
            record(store, f"{sys.argv[2]}-{index}")
            slowest = max(slowest, time.monotonic() - started)
        print(slowest)
    """
    reader = """
        import pathlib
        store, seen, reads = open_store(sys.argv[1]), 0, 0
        while not pathlib.Path(sys.argv[2]).exists():
            if store.exists():
                now = store.query("SELECT count(*) AS n FROM cells")["n"][0]
                assert now >= seen, "a committed cell vanished"
                seen, reads = now, reads + 1
        print(reads)
    """
    readers = [start(reader, path, tmp_path / "stop") for _ in range(2)]
    writers = [start(writer, path, name) for name in "ab"]
    slowest = [float(output(process)) for process in writers]
    (tmp_path / "stop").touch()
    reads = [int(output(process)) for process in readers]
    assert max(slowest) < 10.0 and min(reads) > 3, (slowest, reads)
    assert len(open_store(path).statuses()) == 30


def test_threads_of_one_process_read_and_write_at_once(store: Store) -> None:
    errors: list[BaseException] = []
    done = threading.Event()

    def guarded(work: Any) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def write(name: str) -> None:
        for index in range(10):
            store.record(cell(f"{name}{index}"))

    def read() -> None:
        while not done.is_set():
            store.statuses()

    reading = guarded(read)
    for thread in [guarded(lambda name=name: write(name)) for name in "ab"]:
        thread.join()
    done.set()
    reading.join()
    assert errors == [] and len(store.statuses()) == 20


HOLDER = """
    import duckdb, time
    opened = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "reading")
    print("held", flush=True)
    time.sleep(float(sys.argv[3]))
"""


def test_a_store_held_by_another_process_is_waited_for(store: Store) -> None:
    store.record(cell())
    holder = start(HOLDER, store.path, "writing", 1.0)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    assert open_store(store.path).statuses() == {"cell-a": "finished"}
    output(holder)


def test_a_store_held_too_long_is_a_sentence_that_names_the_process(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = start(HOLDER, store.path, "writing", 60)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    try:
        started = time.monotonic()
        with (
            pytest.raises(StoreError, match=f"Process {holder.pid} is writing to .* within 0.2 s; try again"),
            connection.reading(store.path, connection.Patience(0.2)),
        ):
            pass
        with (
            pytest.raises(StoreError, match=f"Process {holder.pid} holds open"),
            connection.writing(store.path, connection.Patience(0.2)),
        ):
            pass
        assert time.monotonic() - started < 3.0
    finally:
        holder.kill()
        holder.communicate()
