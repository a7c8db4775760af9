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
def test_a_lease_that_is_not_renewed_ends(runs: tuple[Claims, Claims], is_local: bool) -> None:
    first, second = runs
    file = mark(first.store, "a")
    if not is_local:
        # Over some shared file systems a lock of another machine is not seen.
        file.unlink()
        file.write_text("a\nanother machine\n")
    assert first.take("x") and not second.take("x")
    past = time.time() - liveness.LEASE_S - 1
    os.utime(file, (past, past))
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


def test_a_claim_that_is_being_written_is_respected_for_the_time_of_a_lease(runs: tuple[Claims, Claims]) -> None:
    first, _ = runs
    claims_dir(first.store).mkdir()
    file = claims_dir(first.store) / "x"
    file.touch()
    assert not first.take("x")
    past = time.time() - liveness.LEASE_S - 1
    os.utime(file, (past, past))
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
