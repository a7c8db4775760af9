"""Claims: runs that share a store share its work, and nothing is computed by two of them at a time.

A claim is the file ``<store>.claims/<name>``, created exclusively; it holds the id of its run. It is valid as long as
its run holds its lease (:mod:`results.store.liveness`): a killed run of this machine loses its claims at once, a
suspended run or one of a lost machine after ``LEASE_S`` seconds. Another run then takes them over. A linked folder is
not used: what lies in it are no claims.

A claim only avoids work. A run that comes back after it lost a claim damages nothing: its result is the same, and the
store keeps the first (:meth:`results.store.store.Store.record`). Where no claim can be written (a read-only folder, a
file system without exclusive creation) the run computes everything. Needs no torch.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from results.store import liveness
from results.store.lock import try_lock
from results.store.small_files import PLAIN, is_plain_folder, read_small

_LOCK = ".lock"

#: Attempts to get a claim that other runs give up or take over meanwhile.
_ATTEMPTS = 5

#: Longest wait for another run that takes over a claim, which takes milliseconds unless that run is suspended.
_PATIENCE_S = 5.0


def claims_dir(store: Path) -> Path:
    """Return the folder of a store's claims."""
    return store.with_name(store.name + ".claims")


class Claims:
    """Claims of one run, whose mark :func:`results.store.liveness.alive` holds.

    Args:
        store: file of the store.
        run_id: run of this process.
    """

    def __init__(self, store: Path, run_id: str) -> None:
        self.store = store
        self.run_id = run_id
        self.folder = claims_dir(store)
        self._held: set[str] = set()
        self._watch = liveness.Watch()

    def take(self, name: str) -> bool:
        """Claim a name, and return whether this run holds it now; also a claim that it has held before."""
        path = self.folder / name
        try:
            for _ in range(_ATTEMPTS):
                self.folder.mkdir(exist_ok=True)
                if self.folder.is_symlink():
                    return True
                if self._create(path):
                    self._held.add(name)
                    return True
                holder = _holder(path)
                if holder == self.run_id:
                    return True
                if holder is not None:
                    if self._is_valid(path, holder):
                        return False
                    self._remove_invalid(path)
        except OSError:
            return True
        return False

    def holder(self, name: str) -> str | None:
        """Return the other run that holds a valid claim of this name; None if there is none."""
        path = self.folder / name
        try:
            holder = _holder(path)
            return holder if holder not in (None, self.run_id) and self._is_valid(path, str(holder)) else None
        except OSError:
            return None

    def holds(self, name: str) -> bool:
        """Return whether this run still holds a claim that it has taken; a suspended run may have lost it."""
        try:
            holder = _holder(self.folder / name)
        except OSError:
            return True
        return name in self._held and holder in (None, self.run_id)

    def release(self, name: str) -> None:
        """Give up a claim; one that another run has taken over stays."""
        if name in self._held and self.holds(name):
            with contextlib.suppress(OSError):
                (self.folder / name).unlink(missing_ok=True)
        self._held.discard(name)

    def close(self) -> None:
        """Give up all claims, and remove the folder if no other run has any."""
        for name in list(self._held):
            self.release(name)
        if not is_plain_folder(self.folder):
            return
        with contextlib.suppress(OSError):
            if [path.name for path in self.folder.iterdir()] == [_LOCK]:
                (self.folder / _LOCK).unlink(missing_ok=True)
            self.folder.rmdir()

    def remove_leftovers(self) -> None:
        """Remove the claims of killed runs."""
        if not is_plain_folder(self.folder):
            return
        with contextlib.suppress(OSError):
            for path in list(self.folder.iterdir()):
                holder = _holder(path) if path.name != _LOCK else self.run_id
                if holder is not None and holder != self.run_id and not self._is_valid(path, holder):
                    self._remove_invalid(path)

    def _create(self, path: Path) -> bool:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except (FileExistsError, FileNotFoundError):
            # Not found: another run has just removed the empty folder.
            return False
        try:
            os.write(handle, self.run_id.encode())
        finally:
            os.close(handle)
        return True

    def _is_valid(self, path: Path, holder: str) -> bool:
        now = liveness.now_beside(self.store, self.run_id)
        if not holder:
            # Its run is just writing it, or was killed doing so.
            with contextlib.suppress(FileNotFoundError):
                return self._watch.is_renewed(str(path), path.stat().st_mtime, now)
            return False
        return liveness.holds_lease(self.store, holder, now, self._watch)

    def _remove_invalid(self, path: Path) -> None:
        """Remove a claim if it is still invalid; one run at a time, so that none removes the claim that replaced it."""
        with _locked(self.folder / _LOCK), contextlib.suppress(FileNotFoundError):
            holder = _holder(path)
            if holder is not None and not self._is_valid(path, holder):
                path.unlink()


def _holder(path: Path) -> str | None:
    """Return the run that a claim names ("" while it is written), or None if there is no such claim."""
    try:
        return read_small(path).strip()
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | PLAIN, 0o644)
    deadline = time.monotonic() + _PATIENCE_S
    try:
        with contextlib.suppress(OSError):
            while not try_lock(handle, exclusive=True) and time.monotonic() < deadline:
                time.sleep(0.01)
        yield
    finally:
        os.close(handle)
