"""Stores attached to a DuckDB that stays running: attaching a file takes 3 ms, and starting DuckDB for it 25 ms.

Each file has a DuckDB of its own in memory, which can reach no other file (`database`). Between two operations the file
is detached, so that other processes can use it; also if Ctrl-C interrupts an operation at an odd moment. Before the
process forks, all are closed: DuckDB's threads do not exist in a child.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections import OrderedDict, deque
from pathlib import Path

import duckdb

from results.location import require_location
from results.store.database import STORE, closed_database, path_text
from results.store.file_state import FileState

#: Number of files whose DuckDB stays running.
_MOST = 8

#: Attempts to use a DuckDB that other threads may close.
_ATTEMPTS = 3

#: Errors after which a DuckDB is not used any more.
_FATAL = (duckdb.FatalException, duckdb.InternalException)


class InUse(Exception):
    """Another thread of this process has the file open in a way that excludes this one."""


#: Numbers of connections.
_numbers = itertools.count()


class Attached:
    """Connection to an attached store, whose name in SQL is `STORE` and need not be written.

    An interrupt between two instructions may leave it without an owner: then it is closed when it is deleted.
    """

    def __init__(self, instance: _Instance, connection: duckdb.DuckDBPyConnection, state: FileState) -> None:
        self.number = next(_numbers)
        self.connection = connection
        self.state = state
        """state of the file before it was attached"""
        self._instance = instance

    def close(self) -> None:
        """Close the connection; the last one of a file detaches it. An unfinished transaction is undone."""
        if self._instance.is_inherited:
            return
        try:
            with contextlib.suppress(duckdb.Error):
                self.connection.close()
        finally:
            self._instance.release(self.number)

    def __del__(self) -> None:
        # An interrupted constructor leaves no instance.
        if hasattr(self, "_instance"):
            self._instance.abandon(self)


def attach(path: Path, *, read_only: bool) -> Attached:
    """Attach a store file.

    Args:
        path: absolute path of a file; one that does not exist is created, unless it is attached for reading.
        read_only: attach it for reading only. Threads of this process may do so at the same time.

    Raises:
        InUse: another thread has it open for writing, or has it open and this one wants to write; or has a file open
            that another one has replaced since.
        StoreError: the path cannot be that of a results store.
        duckdb.Error: DuckDB cannot open the file, as for :func:`results.store.database.open_database`.
    """
    for _ in range(_ATTEMPTS):
        try:
            return _instance_of(path).attach(read_only)
        except (_Ended, *_FATAL):
            # Closed by another thread meanwhile, or ended by an earlier operation on a damaged file.
            continue
    return _instance_of(path).attach(read_only)


def require_content(path: Path) -> None:
    """Check that an existing file is a DuckDB file, unless it is attached: then it has been checked.

    Raises:
        StoreError: it is another file, see :func:`results.location.require_location`.
    """
    _instance_of(path).require_content()


class _Ended(Exception):
    """The DuckDB was closed after it was chosen."""


class _Instance:
    """DuckDB of one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_usable = True
        self.is_inherited = False
        """this process is a child of the one that started it"""
        self._open: set[int] = set()
        """numbers of the open connections"""
        self._abandoned: deque[int] = deque()
        """numbers of connections that were deleted without being closed"""
        self._read_only = True
        self._state = FileState(None, None)
        self._lock = threading.Lock()
        self._root = closed_database(path)

    @property
    def n_open(self) -> int:
        return len(self._open)

    def attach(self, read_only: bool) -> Attached:
        with self._lock:
            self._drop_abandoned()
            if not self.is_usable:
                raise _Ended
            state = FileState.of(self.path)
            if self._open and not (read_only and self._read_only and state.is_same_file(self._state)):
                raise InUse(f"another connection of this process holds {self.path}")
            connection = self._root.cursor()
            try:
                if not self._open:
                    self._attach_file(connection, read_only)
                    self._read_only, self._state = read_only, state
                connection.execute(f"USE {STORE}")
                opened = Attached(self, connection, self._state)
                self._open.add(opened.number)
            except BaseException as error:
                connection.close()
                if isinstance(error, _FATAL):
                    self._end()
                elif not self._open:
                    self._detach()
                raise
            return opened

    def _attach_file(self, connection: duckdb.DuckDBPyConnection, read_only: bool) -> None:
        require_location(self.path)
        options = "TYPE duckdb, READ_ONLY" if read_only else "TYPE duckdb"
        connection.execute(f"ATTACH {path_text(self.path)} AS {STORE} ({options})")

    def require_content(self) -> None:
        """Check the file if no connection of this process has it open."""
        with self._lock:
            if not self._open:
                require_location(self.path)

    def release(self, number: int) -> None:
        """Note that a connection is closed."""
        with self._lock:
            self._close(number)
            self._drop_abandoned()

    def abandon(self, opened: Attached) -> None:
        """Note that a connection is deleted, at any moment: the lock may be held by this thread."""
        if opened.number in self._open and not self.is_inherited:
            self._abandoned.append(opened.number)
            opened.connection.close()
            if self._lock.acquire(blocking=False):
                try:
                    self._drop_abandoned()
                finally:
                    self._lock.release()

    def _drop_abandoned(self) -> None:
        while self._abandoned:
            self._close(self._abandoned.popleft())

    def _close(self, number: int) -> None:
        self._open.discard(number)
        if not self._open and self.is_usable:
            self._detach()

    def close_if_unused(self) -> bool:
        """Close this DuckDB unless it has its file open; return whether it is closed now."""
        with self._lock:
            self._drop_abandoned()
            if not self._open:
                self._end()
            return not self.is_usable

    def _detach(self) -> None:
        """Detach the file; if this fails, close the whole DuckDB, so that the file is free in any case."""
        try:
            self._root.execute(f"DETACH DATABASE IF EXISTS {STORE}")
        except duckdb.Error:
            self._end()
        except BaseException:
            # An interrupt.
            self._end()
            raise

    def _end(self) -> None:
        self.is_usable = False
        with contextlib.suppress(duckdb.Error):
            self._root.close()


_instances: OrderedDict[Path, _Instance] = OrderedDict()
_lock = threading.Lock()


def _instance_of(path: Path) -> _Instance:
    """Return the DuckDB of a file, started if there is none that can be used."""
    with _lock:
        # Not taken out in between: an interrupt would let a second DuckDB open the file.
        instance = _instances.get(path)
        if instance is None or not instance.is_usable:
            instance = _instances[path] = _Instance(path)
        _instances.move_to_end(path)
        if len(_instances) > _MOST:
            _close_unused(len(_instances) - _MOST, instance)
        return instance


def close_unused() -> None:
    """Close every DuckDB that has no file open."""
    with _lock:
        _close_unused(len(_instances), None)


def _close_unused(n: int, kept: _Instance | None) -> None:
    """Close up to n of the least recently used that have no file open."""
    for path, instance in list(_instances.items()):
        if n and instance is not kept and instance.close_if_unused():
            del _instances[path]
            n -= 1


#: What a child inherited from threads of its parent that had a store open: closing them there would wait for ever.
_inherited: list[_Instance] = []


def _forget() -> None:
    global _lock
    _lock = threading.Lock()
    for instance in _instances.values():
        instance.is_inherited = True
    _inherited.extend(_instances.values())
    _instances.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=close_unused, after_in_child=_forget)
