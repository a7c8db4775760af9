"""Stores attached to a DuckDB that stays running: attaching a file takes 3 ms, and starting DuckDB for it 25 ms.

Each file has a DuckDB of its own in memory, which can reach no other file (`database`). Between two operations the file
is detached, so that other processes can use it. Before the process forks, all are closed: DuckDB's threads do not
exist in a child.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from pathlib import Path

import duckdb

from results.store.database import STORE, closed_database, path_text

#: Number of files whose DuckDB stays running.
_MOST = 8

#: Attempts to use a DuckDB that other threads may close.
_ATTEMPTS = 3

#: Errors after which a DuckDB is not used any more.
_FATAL = (duckdb.FatalException, duckdb.InternalException)


class InUse(Exception):
    """Another thread of this process has the file open in a way that excludes this one."""


class Attached:
    """Connection to an attached store, whose name in SQL is `STORE` and need not be written."""

    def __init__(self, instance: _Instance, connection: duckdb.DuckDBPyConnection) -> None:
        self._instance = instance
        self.connection = connection

    def close(self) -> None:
        """Close the connection; the last one of a file detaches it. An unfinished transaction is undone."""
        with contextlib.suppress(duckdb.Error):
            self.connection.close()
        self._instance.release()


def attach(path: Path, *, read_only: bool) -> Attached:
    """Attach a store file.

    Args:
        path: absolute path of a file; one that does not exist is created, unless it is attached for reading.
        read_only: attach it for reading only. Threads of this process may do so at the same time.

    Raises:
        InUse: another thread has it open for writing, or has it open and this one wants to write.
        duckdb.Error: DuckDB cannot open the file, as for :func:`results.store.database.open_database`.
    """
    for _ in range(_ATTEMPTS):
        try:
            return _instance_of(path).attach(read_only)
        except (_Ended, *_FATAL):
            # Closed by another thread meanwhile, or ended by an earlier operation on a damaged file.
            continue
    return _instance_of(path).attach(read_only)


class _Ended(Exception):
    """The DuckDB was closed after it was chosen."""


class _Instance:
    """DuckDB of one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_open = 0
        self.is_usable = True
        self._read_only = True
        self._lock = threading.Lock()
        self._root = closed_database(path)

    def attach(self, read_only: bool) -> Attached:
        with self._lock:
            if not self.is_usable:
                raise _Ended
            if self.n_open and not (read_only and self._read_only):
                raise InUse(f"another connection of this process holds {self.path}")
            connection = self._root.cursor()
            try:
                if not self.n_open:
                    options = "TYPE duckdb, READ_ONLY" if read_only else "TYPE duckdb"
                    connection.execute(f"ATTACH {path_text(self.path)} AS {STORE} ({options})")
                    self._read_only = read_only
                connection.execute(f"USE {STORE}")
            except BaseException as error:
                connection.close()
                if isinstance(error, _FATAL):
                    self._end()
                elif not self.n_open:
                    self._detach()
                raise
            self.n_open += 1
            return Attached(self, connection)

    def release(self) -> None:
        with self._lock:
            self.n_open -= 1
            if not self.n_open and self.is_usable:
                self._detach()

    def close_if_unused(self) -> bool:
        """Close this DuckDB unless it has its file open; return whether it is closed now."""
        with self._lock:
            if not self.n_open:
                self._end()
            return not self.is_usable

    def _detach(self) -> None:
        """Detach the file; if this fails, close the whole DuckDB, so that the file is free in any case."""
        try:
            self._root.execute(f"DETACH DATABASE IF EXISTS {STORE}")
        except duckdb.Error:
            self._end()

    def _end(self) -> None:
        self.is_usable = False
        with contextlib.suppress(duckdb.Error):
            self._root.close()


_instances: OrderedDict[Path, _Instance] = OrderedDict()
_lock = threading.Lock()


def _instance_of(path: Path) -> _Instance:
    """Return the DuckDB of a file, started if there is none that can be used."""
    with _lock:
        instance = _instances.pop(path, None)
        if instance is None or not instance.is_usable:
            instance = _Instance(path)
        _instances[path] = instance
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
    _inherited.extend(_instances.values())
    _instances.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=close_unused, after_in_child=_forget)
