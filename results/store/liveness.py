"""Detection of killed runs: a running process holds a lock on a file, which the kernel drops when it ends.

The file lies beside the store, ``<store>.<run id>.running``. A run that ends removes it; one that is killed leaves the
file and its row with the status ``running``, but no process holds the lock any more. This is the definition of "died",
on this machine and on others that share the folder. Needs no torch.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from results.store import Store
from results.store.canonical import short_hash
from results.store.lock import try_lock
from results.store.records import records_of

#: Neither wait for a pipe nor follow a link; both flags are missing on Windows.
_NO_PIPE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)


class RunState(NamedTuple):
    """State of a run."""

    run_id: str
    suite: str | None
    state: str
    """``running``, ``finished``, ``interrupted`` (it was asked to stop) or ``died`` (it was killed)"""
    n_planned: int | None
    """number of planned cells"""
    n_done: int
    """number of cells that finished or failed, except those that a later run computed again"""


def mark(store: Path, run_id: str) -> Path:
    """Return the file whose lock a run holds while it is alive; it lies beside the store whatever the id is."""
    name = run_id if re.fullmatch(r"[\w.-]{1,100}", run_id) else short_hash(run_id)
    return store.with_name(f"{store.name}.{name}.running")


@contextlib.contextmanager
def alive(store: Path, run_id: str) -> Iterator[None]:
    """Hold the lock that marks this process as alive. If locking is not possible, the run continues without it."""
    file = mark(store, run_id)
    handle: int | None = None
    with contextlib.suppress(OSError):
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        os.write(handle, run_id.encode())
        try_lock(handle, exclusive=True)
    try:
        yield
    finally:
        if handle is not None:
            # Unlink before unlocking: a file that exists and is not locked is the mark of a run that died.
            file.unlink(missing_ok=True)
            os.close(handle)


def run_states(store: Store) -> list[RunState]:
    """Return the state of every run of a store, oldest first. It only reads, and may be called during a run.

    Raises:
        StoreError: the store cannot be read.
    """
    return [
        RunState(
            run["run_id"],
            run["suite"],
            _state(store.path, run["run_id"], run["status"], ended=run["ended_at"] is not None),
            run["n_planned"],
            run["n_finished"] + run["n_failed"],
        )
        for run in records_of(store.runs())
    ]


def bury(store: Store) -> list[RunState]:
    """Set runs that died to ``interrupted``, without an end time, since none was observed; return those runs.

    Raises:
        StoreError: the store cannot be written.
    """
    dead = [state for state in run_states(store) if state.state == "died"]
    with contextlib.suppress(OSError):
        for state in dead:
            mark(store.path, state.run_id).unlink(missing_ok=True)
    unwritten = set(store.query("SELECT run_id FROM runs WHERE status = 'running'")["run_id"])
    interrupted = [state for state in dead if state.run_id in unwritten]
    if interrupted:
        with store.writing() as opened:
            opened.execute(
                "UPDATE runs SET status = 'interrupted' "
                "WHERE status = 'running' AND run_id IN (SELECT unnest(?::VARCHAR[]))",
                [[state.run_id for state in interrupted]],
            )
    return interrupted


def _state(store: Path, run_id: str, status: str, *, ended: bool) -> str:
    if status == "running":
        return "running" if _is_locked(mark(store, run_id)) else "died"
    return "died" if status == "interrupted" and not ended else status


def _is_locked(file: Path) -> bool:
    """Return whether a process holds the lock on the file; if it cannot be tested, it counts as held."""
    try:
        # A shared lock needs no write permission, and two tests do not block each other.
        handle = os.open(file, os.O_RDONLY | _NO_PIPE)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        return not try_lock(handle, exclusive=False)
    except OSError:
        return True
    finally:
        os.close(handle)
