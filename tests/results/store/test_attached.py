"""Stores attached to a DuckDB that stays running: free between operations, shared by threads, gone before a fork."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from results import open_store
from results.errors import StoreError
from results.store import Store, attached
from results.store.attached import InUse, attach
from results.store.connection import Patience, reading


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return open_store(tmp_path / "it's a store: 7.duckdb", read_only=False).path


def n_runs(path: Path) -> int:
    with closing(attach(path, read_only=True)) as opened:
        return int(opened.connection.execute("SELECT count(*) FROM runs").fetchall()[0][0])


def test_the_file_is_free_between_two_operations(path: Path) -> None:
    assert n_runs(path) == 0
    with duckdb.connect(str(path)) as other:
        other.execute("INSERT INTO runs (run_id, started_at, status) VALUES ('r', now(), 'finished')")
    assert n_runs(path) == 1
    replacement = path.with_name("replacement.duckdb")
    open_store(replacement, read_only=False)
    replacement.replace(path)
    assert n_runs(path) == 0
    path.unlink()
    with pytest.raises(duckdb.IOException):
        attach(path, read_only=True)


def test_readers_share_it_and_a_writer_is_alone(path: Path) -> None:
    with closing(attach(path, read_only=True)), closing(attach(path, read_only=True)) as second:
        with pytest.raises(InUse):
            attach(path, read_only=False)
        # The first reader may leave first.
        assert second.connection.execute("SELECT count(*) FROM meta").fetchall() == [(1,)]
    with closing(attach(path, read_only=False)):
        for read_only in (True, False):
            with pytest.raises(InUse):
                attach(path, read_only=read_only)
    assert n_runs(path) == 0


def test_what_was_not_committed_is_undone(path: Path) -> None:
    with closing(attach(path, read_only=False)) as opened:
        opened.connection.execute("BEGIN")
        opened.connection.execute("DELETE FROM meta")
    with closing(attach(path, read_only=True)) as opened:
        assert opened.connection.execute("SELECT count(*) FROM meta").fetchall() == [(1,)]


def test_temporary_views_end_with_their_connection(path: Path) -> None:
    with closing(attach(path, read_only=True)) as kept:
        with closing(attach(path, read_only=True)) as opened:
            opened.connection.execute("CREATE TEMP VIEW runs AS SELECT 7 AS n")
        assert kept.connection.execute("SELECT count(*) FROM runs").fetchall() == [(0,)]
    assert n_runs(path) == 0


def test_a_damaged_file_does_not_stay_open(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(b"no database at all" * 1000)
    for _ in range(2):
        with pytest.raises(StoreError, match="not a DuckDB file"):
            attach(path, read_only=True)
    path.write_bytes(content)
    assert n_runs(path) == 0


def test_few_stay_running(tmp_path: Path) -> None:
    paths = [open_store(tmp_path / f"{number}.duckdb", read_only=False).path for number in range(12)]
    with closing(attach(paths[0], read_only=True)) as kept:
        for path in paths:
            n_runs(path)
        assert len(attached._instances) <= attached._MOST
        assert kept.connection.execute("SELECT count(*) FROM meta").fetchall() == [(1,)]
    attached.close_unused()
    assert not attached._instances


def test_threads_that_close_each_others_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attached, "_MOST", 1)
    paths = [open_store(tmp_path / f"{number}.duckdb", read_only=False).path for number in range(3)]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(n_runs, paths * 20)) == [0] * 60


def _count(path: Path) -> None:
    assert n_runs(path) == 0 and not any(thread.name == "reader" for thread in threading.enumerate())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_reads_it_too(path: Path) -> None:
    assert n_runs(path) == 0
    child = multiprocessing.get_context("fork").Process(target=_count, args=(path,))
    child.start()
    child.join(20)
    assert child.exitcode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_forked_while_a_thread_reads_ends_and_can_read_others(path: Path, tmp_path: Path) -> None:
    other = open_store(tmp_path / "other.duckdb", read_only=False).path
    with closing(attach(path, read_only=True)):
        child = multiprocessing.get_context("fork").Process(target=_count, args=(other,))
        child.start()
        child.join(20)
        assert child.exitcode == 0
    assert n_runs(path) == 0


_OPEN_ELSEWHERE = "import sys, duckdb; duckdb.connect(sys.argv[1])"


def is_locked(path: Path) -> bool:
    """Return whether another process is kept from writing."""
    done = subprocess.run([sys.executable, "-c", _OPEN_ELSEWHERE, str(path)], capture_output=True, text=True)
    assert done.returncode == 0 or "Could not set lock" in done.stderr
    return done.returncode != 0


@pytest.mark.parametrize("read_only", [True, False])
def test_a_thread_that_looks_at_the_file_leaves_the_lock_of_another(path: Path, read_only: bool) -> None:
    """A process that closes a file loses all its locks on it."""

    def look() -> None:
        with contextlib.suppress(StoreError):
            Store(path, patience=Patience(0.1)).statuses()
        with contextlib.suppress(StoreError):
            Store(path, read_only=False, patience=Patience(0.1)).relabel({})

    with closing(attach(path, read_only=read_only)):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert is_locked(path)
    assert not is_locked(path)


def test_an_interrupt_leaves_the_file_free(path: Path) -> None:
    """After Ctrl-C between two instructions nothing closes the connection but its deletion."""
    for read_only in (True, False):
        opened = attach(path, read_only=read_only)
        assert is_locked(path)
        del opened
        assert not is_locked(path) and n_runs(path) == 0


def test_a_connection_deleted_while_the_lock_is_held_is_closed_by_the_next(path: Path) -> None:
    opened = attach(path, read_only=False)
    with attached._instances[path]._lock:
        del opened
    assert n_runs(path) == 0 and not is_locked(path)


def test_an_interrupted_query_is_an_interrupt(path: Path) -> None:
    """DuckDB raises a RuntimeError for it, which would make a failed cell of a finished one."""
    for opened in (reading(path), Store(path, read_only=False).writing()):
        with pytest.raises(KeyboardInterrupt), opened:
            raise RuntimeError("Query interrupted")
    assert not is_locked(path)


def test_interrupts_at_any_moment(path: Path) -> None:
    """Nothing but KeyboardInterrupt is raised, and the file is free afterwards."""
    store, generator = Store(path, read_only=False, patience=Patience(1)), random.Random(0)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for _ in range(100):
            with contextlib.suppress(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, generator.uniform(0.0002, 0.02))
                store.relabel({"x": "y"})
                store.statuses()
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert not any(instance.n_open for instance in attached._instances.values())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not is_locked(path)


def test_a_replaced_file_is_not_read_through_the_open_one(path: Path) -> None:
    """Otherwise the new file would count as checked."""
    with closing(attach(path, read_only=True)):
        replacement = path.with_name("replacement.duckdb")
        with duckdb.connect(str(replacement)) as other:
            other.execute("CREATE TABLE meta (schema_version INTEGER)")
        replacement.replace(path)
        with pytest.raises(InUse):
            attach(path, read_only=True)
    with pytest.raises(StoreError, match="not a results store"):
        Store(path).statuses()
