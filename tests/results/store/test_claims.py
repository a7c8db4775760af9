"""Claims of runs: one at a time, valid while their run lives."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from results.store import claims, liveness
from results.store.claims import Claims, claims_dir
from results.store.liveness import alive, mark


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[tuple[Claims, Claims]]:
    store = tmp_path / "r.duckdb"
    with ExitStack() as living:
        for run_id in ("a", "b"):
            living.enter_context(alive(store, run_id))
        yield Claims(store, "a"), Claims(store, "b")


def test_one_of_two_runs_gets_a_claim(runs: tuple[Claims, Claims]) -> None:
    first, second = runs
    assert first.take("x") and first.take("x") and not second.take("x") and second.take("y")
    assert second.holder("x") == "a" and first.holder("x") is None and first.holds("x") and not second.holds("x")
    second.release("x")
    assert not second.take("x"), "what another run holds cannot be given up for it"
    first.release("x")
    assert second.take("x")
    first.close()
    assert claims_dir(first.store).is_dir()
    second.close()
    assert not claims_dir(first.store).exists()


def test_a_run_that_ended_or_was_killed_holds_nothing(runs: tuple[Claims, Claims], tmp_path: Path) -> None:
    first, _ = runs
    dead = Claims(tmp_path / "r.duckdb", "dead")
    with alive(tmp_path / "r.duckdb", "dead"):
        assert dead.take("x") and dead.take("y") and not first.take("x")
    assert first.holder("x") is None and first.take("x")
    # A killed process leaves its mark without a lock.
    mark(tmp_path / "r.duckdb", "dead").write_text(f"dead\n{liveness._machine()}\n")
    assert first.take("y") and not dead.holds("x")
    first.close()
    assert not claims_dir(first.store).exists()


@pytest.mark.parametrize("is_local", [True, False])
def test_a_lease_that_is_not_renewed_ends(
    runs: tuple[Claims, Claims], is_local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "RENEW_S", 0.01)
    first, second = runs
    file = mark(first.store, "a")
    if not is_local:
        # Over some shared file systems a lock of another machine is not seen.
        file.unlink()
        file.write_text("a\nanother machine\n")
    assert first.take("x") and not second.take("x")
    past = time.time() - liveness.LEASE_S - 1
    os.utime(file, (past, past))
    assert not second.take("x"), "the clock may have jumped while both runs slept"
    time.sleep(0.05)
    assert second.take("x") and not first.holds("x") and not first.take("x")
    first.release("x")
    assert second.holds("x")


def test_time_is_that_of_the_folder(
    runs: tuple[Claims, Claims], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of this machine is an hour ahead."""
    first, second = runs
    ahead = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: ahead)
    assert first.take("x") and not second.take("x")


def test_a_claim_that_is_being_written_is_respected_for_the_time_of_a_lease(
    runs: tuple[Claims, Claims], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "RENEW_S", 0.01)
    first, _ = runs
    claims_dir(first.store).mkdir()
    file = claims_dir(first.store) / "x"
    file.touch()
    assert not first.take("x")
    past = time.time() - liveness.LEASE_S - 1
    os.utime(file, (past, past))
    assert not first.take("x")
    time.sleep(0.05)
    assert first.take("x")


def test_leftovers_of_killed_runs_are_removed(runs: tuple[Claims, Claims]) -> None:
    first, second = runs
    second.take("y")
    (claims_dir(first.store) / "x").write_text("long gone")
    first.remove_leftovers()
    assert sorted(path.name for path in claims_dir(first.store).iterdir()) == [".lock", "y"]


def test_without_a_folder_to_write_to_a_run_works_alone(
    runs: tuple[Claims, Claims], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(claims.Claims, "_create", refuse)
    assert runs[0].take("x") and runs[1].take("x")


def test_a_mark_is_renewed_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "RENEW_S", 0.01)
    store = tmp_path / "r.duckdb"
    with alive(store, "a"):
        file = mark(store, "a")
        os.utime(file, (0, 0))
        deadline = time.monotonic() + 5
        while file.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert file.stat().st_mtime > 0
        file.unlink()
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert liveness.run_of(file) == "a"
    assert not file.exists()


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_a_clock_that_jumps_takes_no_claim_of_a_living_run(runs: tuple[Claims, Claims], jump_s: float) -> None:
    first, second = runs
    assert first.take("x")
    moment = time.time() - jump_s
    os.utime(mark(first.store, "a"), (moment, moment))
    assert not second.take("x") and second.holder("x") == "a" and first.holds("x")
    os.utime(mark(first.store, "a"))
    assert not second.take("x")


@pytest.mark.parametrize("content", ["a", ""])
def test_a_time_in_the_future_holds_nothing_for_ever(
    runs: tuple[Claims, Claims], content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a machine whose clock was wrong; an empty claim is of a run that was killed while it wrote it."""
    monkeypatch.setattr(liveness, "LEASE_S", 0.1)
    first, second = runs
    assert first.take("x")
    mark(first.store, "a").unlink()
    mark(first.store, "a").write_text("a\nanother machine\n")
    claim = claims_dir(first.store) / "x"
    claim.write_text(content)
    future = time.time() + 1e6
    for file in (mark(first.store, "a"), claim):
        os.utime(file, (future, future))
    assert not second.take("x")
    time.sleep(0.15)
    assert second.take("x")


def test_a_mark_that_is_no_file_holds_nothing(runs: tuple[Claims, Claims], tmp_path: Path) -> None:
    """Such a mark may come with a store; it would hold a claim for ever."""
    first, _ = runs
    for number, make in enumerate((Path.mkdir, os.mkfifo, lambda path: path.symlink_to(__file__))):
        run_id = f"odd-{number}"
        make(mark(first.store, run_id))
        (claims_dir(first.store)).mkdir(exist_ok=True)
        (claims_dir(first.store) / f"x{number}").write_text(run_id)
        assert first.take(f"x{number}") and first.holds(f"x{number}")


def test_a_run_whose_mark_was_removed_takes_no_claim_of_others(runs: tuple[Claims, Claims]) -> None:
    first, second = runs
    assert first.take("x")
    mark(first.store, "b").unlink()
    assert not second.take("x")


def test_a_linked_folder_is_left_alone(runs: tuple[Claims, Claims], tmp_path: Path) -> None:
    """A link that comes with a store could lead to any folder, and old claims are deleted."""
    first, _ = runs
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "thesis").write_text("text")
    claims_dir(first.store).symlink_to(documents)
    assert first.take("thesis") and first.take("new")
    first.remove_leftovers()
    first.release("thesis")
    first.close()
    assert [path.name for path in documents.iterdir()] == ["thesis"]
