"""Detection of killed and suspended runs: a running process holds a lock on a file, and renews its time.

The file lies beside the store, ``<store>.<run id>.running``. A run that ends removes it; one that is killed leaves the
file and its row with the status ``running``, but no process holds the lock any more. This is the definition of "died"
on one machine. Not every shared folder has locks between machines, so a run of another machine also counts as alive
while it renews the file's time. Needs no torch.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from results.store import Store
from results.store.canonical import short_hash
from results.store.lock import try_lock
from results.store.records import records_of
from results.store.small_files import PLAIN, is_plain_file, read_small

#: Seconds between two renewals of a run's mark.
RENEW_S = 10.0

#: Seconds without renewal after which others may take over what a run has claimed: it was suspended, or its machine
#: is lost.
LEASE_S = 120.0


#: Multiple of ``RENEW_S`` for which a mark that seems old is watched: the clock may have jumped while all slept.
_CONFIRMATIONS = 2.5


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


def run_of(file: Path) -> str:
    """Return the id of the run that wrote a mark. Raises OSError if the file cannot be read."""
    return read_small(file).partition("\n")[0]


@contextlib.contextmanager
def alive(store: Path, run_id: str) -> Iterator[None]:
    """Hold the lock that marks this process as alive, and renew the mark; if that is impossible, continue without it.

    A thread renews it, so that a long computation does not delay it.
    """
    held = _HeldMark(mark(store, run_id), run_id)
    with contextlib.suppress(OSError):
        held.create()
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(RENEW_S):
            with contextlib.suppress(OSError):
                held.renew()

    thread = threading.Thread(target=renew, name=f"lease of {run_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        held.remove()


class _HeldMark:
    """Locked mark of this process."""

    def __init__(self, file: Path, run_id: str) -> None:
        self.file = file
        self.content = f"{run_id}\n{_machine()}\n".encode()
        self.handle: int | None = None

    def create(self) -> None:
        # Renamed once it is written and locked, so that no other process takes it for the mark of a dead run.
        partial = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | PLAIN, 0o644)
        if self.handle is not None:
            os.close(self.handle)
        self.handle = handle
        os.write(handle, self.content)
        with contextlib.suppress(OSError):
            try_lock(handle, exclusive=True)
        partial.replace(self.file)

    def renew(self) -> None:
        try:
            os.utime(self.file)
        except FileNotFoundError:
            # Another machine took this run for dead while it was suspended.
            self.create()

    def remove(self) -> None:
        if self.handle is not None:
            # Unlink before unlocking: a file that exists and is not locked is the mark of a run that died.
            self.file.unlink(missing_ok=True)
            os.close(self.handle)


def now_beside(store: Path, run_id: str) -> float:
    """Renew the mark of a run of this process, and return its time: the clock of the file system, not of this machine.

    Without a mark, which is created again at the next renewal, return the time of this machine.

    Raises:
        OSError: the mark cannot be written.
    """
    file = mark(store, run_id)
    try:
        os.utime(file, follow_symlinks=False)
        return file.lstat().st_mtime
    except FileNotFoundError:
        return time.time()


class Watch:
    """Times of files as one process has seen them change, so that no clock that jumps ends a lease or prolongs it."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, float]] = {}
        """file -> its time, and the monotonic time at which this was first seen"""

    def is_renewed(self, name: str, renewed_at: float, now: float) -> bool:
        """Return whether a file was renewed in the last :data:`LEASE_S` seconds.

        Args:
            name: names the file.
            renewed_at: time of the file.
            now: present time by the same clock.
        """
        time_seen, since = self._seen.get(name, (None, 0.0))
        if time_seen != renewed_at:
            since = time.monotonic()
            self._seen[name] = renewed_at, since
        watched_s = time.monotonic() - since
        if now - renewed_at < LEASE_S:
            # A time in the future does not prolong it.
            return watched_s < LEASE_S
        return watched_s < _CONFIRMATIONS * RENEW_S


def holds_lease(store: Path, run_id: str, now: float, watch: Watch) -> bool:
    """Return whether a run is alive and has renewed its mark in the last :data:`LEASE_S` seconds.

    Args:
        store: file of the store.
        run_id: run of any machine.
        now: time by the clock of the folder, see :func:`now_beside`.
        watch: of the process that asks.
    """
    state = _MarkState.of(mark(store, run_id))
    if not state.exists or (state.is_local and not state.is_locked):
        return False
    return watch.is_renewed(run_id, state.renewed_at, now)


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
    for state in dead:
        with contextlib.suppress(OSError):
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
        return "running" if _is_running(mark(store, run_id)) else "died"
    return "died" if status == "interrupted" and not ended else status


def _is_running(file: Path) -> bool:
    """Return whether the process of a mark runs; a suspended process of this machine does."""
    state = _MarkState.of(file)
    is_renewed = not state.is_local and abs(time.time() - state.renewed_at) < LEASE_S
    return state.exists and (state.is_locked or is_renewed)


class _MarkState(NamedTuple):
    """Mark of a run as seen from this process."""

    exists: bool
    """a folder, a pipe or a link is no mark"""
    is_locked: bool
    """if it cannot be tested, it counts as locked"""
    is_local: bool
    """its process runs on this machine, where locks are certain; also for marks of earlier versions of the program"""
    renewed_at: float

    @classmethod
    def of(cls, file: Path) -> _MarkState:
        try:
            # Opened and not only looked up: over NFS this asks for the present time of the file.
            # A shared lock needs no write permission, and two tests do not block each other.
            handle = os.open(file, os.O_RDONLY | PLAIN)
        except OSError:
            # Of another user, who does not let this one read it; then only its time tells.
            is_mark = is_plain_file(file)
            return cls(is_mark, False, not is_mark, file.lstat().st_mtime if is_mark else 0.0)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return cls(exists=False, is_locked=False, is_local=True, renewed_at=0.0)
            machine = os.read(handle, 4096).decode(errors="replace").partition("\n")[2].strip()
            is_local = machine in ("", _machine())
            return cls(True, _is_locked(handle), is_local, os.fstat(handle).st_mtime)
        finally:
            os.close(handle)


def _is_locked(handle: int) -> bool:
    try:
        return not try_lock(handle, exclusive=False)
    except OSError:
        return True


def _machine() -> str:
    """Return what tells machines apart: the id of this start of the system, or the host's name."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()
