"""Detection of living and dead runs with real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from paths import ROOT

from results import RunRecord, open_store
from results.store.liveness import RunState, alive, bury, mark, run_states

pytestmark = pytest.mark.run


def start(store: Path, run_id: str) -> None:
    open_store(store, read_only=False).start_run(RunRecord(run_id=run_id, suite="demo", n_planned=3))


def states(store: Path) -> dict[str, str]:
    return {state.run_id: state.state for state in run_states(open_store(store))}


@pytest.mark.parametrize("how", [signal.SIGKILL, None])
def test_a_killed_process_reads_as_died_and_a_living_one_as_running(tmp_path: Path, how: signal.Signals | None) -> None:
    store = tmp_path / "r.duckdb"
    start(store, "theirs")
    program = textwrap.dedent(
        f"""
        import sys
        from pathlib import Path
        from results.store.liveness import alive
        with alive(Path({str(store)!r}), "theirs"):
            print("ready", flush=True)
            sys.stdin.readline()
        """
    )
    root = str(ROOT)
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        assert states(store) == {"theirs": "running"}
        assert bury(open_store(store, read_only=False)) == [], "who lives is not buried"
        assert states(store) == {"theirs": "running"} and mark(store, "theirs").is_file()
        if how is None:
            process.stdin.write("\n")
            process.stdin.flush()
        else:
            process.send_signal(how)
        process.wait(20)
    finally:
        process.kill()
    assert mark(store, "theirs").exists() is (how is not None)
    # The row was never ended in either case: nobody holds the lock, so the run is over.
    assert states(store) == {"theirs": "died"}
    assert bury(open_store(store, read_only=False)) == [RunState("theirs", "demo", "died", 3, 0)]
    assert states(store) == {"theirs": "died"} and not mark(store, "theirs").exists()
    [row] = open_store(store).runs().to_dict("records")
    assert row["status"] == "interrupted" and str(row["ended_at"]) in ("NaT", "<NA>", "None")
    assert bury(open_store(store, read_only=False)) == [], "once is enough"


def test_runs_that_said_how_they_ended_are_believed(tmp_path: Path) -> None:
    store = tmp_path / "r.duckdb"
    for run_id, status in (("a", "finished"), ("b", "interrupted")):
        start(store, run_id)
        with alive(store, run_id):
            open_store(store, read_only=False).end_run(run_id, status)
    assert states(store) == {"a": "finished", "b": "interrupted"}
    assert not list(tmp_path.glob("*.running"))


def test_a_store_that_came_from_elsewhere_runs_nowhere(tmp_path: Path) -> None:
    store = tmp_path / "r.duckdb"
    start(store, "mine")
    with alive(store, "mine"):
        copy = tmp_path / "copy" / "r.duckdb"
        copy.parent.mkdir()
        copy.write_bytes(store.read_bytes())
        assert states(store) == {"mine": "running"} and states(copy) == {"mine": "died"}


def test_reading_writes_nothing(tmp_path: Path) -> None:
    store = tmp_path / "r.duckdb"
    start(store, "mine")
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert states(store) == {"mine": "died"}
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_liveness_needs_no_torch() -> None:
    program = "import sys, results.store.liveness; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
