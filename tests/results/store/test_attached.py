"""Stores attached to a DuckDB that stays running: free between operations, shared by threads, gone before a fork."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from results import open_store
from results.store import attached
from results.store.attached import InUse, attach


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
        with pytest.raises(duckdb.Error):
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
