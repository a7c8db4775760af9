"""Short-lived connections to a store: retried while it is in use, with a clear message for every failure."""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import duckdb

from results.errors import StoreError, StoreUnavailableError
from results.location import require_location
from results.store import lock, schema
from results.store.attached import Attached, InUse, attach, require_content
from results.store.database import STORE, prefer_builtins

READ_PATIENCE_S = 5.0
WRITE_PATIENCE_S = 60.0

#: Longest time for which a waiting writer keeps readers out before it lets them pass and tries again.
_TURN_S = 5.0

# A process that writes cell after cell without computing anything would leave readers no gap.
WRITE_GAP_S = 0.02
_last_write: dict[Path, float] = {}

_BUSY = re.compile(
    # The last one: another thread of this process is closing its connection.
    r"could not set lock|conflicting lock|being used by another process|different configuration than existing|"
    r"already attached by database",
    re.IGNORECASE,
)


class Patience(NamedTuple):
    """Time to wait for a store that is in use."""

    seconds: float
    tell: Callable[[str], None] | None = None
    """receives the holder of the file, in words, whenever it has been waited for :data:`_TURN_S` seconds"""


@contextlib.contextmanager
def reading(path: Path, patience: Patience | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the store read-only, waiting for a writer to finish; by default :data:`READ_PATIENCE_S` seconds.

    Raises:
        StoreUnavailableError: no such file, not a store, a newer schema, or still being written at the end of the
            patience.
        StoreError: a part of the file that is read is damaged.
    """

    def open_once(deadline: float) -> Attached:
        lock.pass_through(path, deadline)
        return _connect(path, read_only=True, deadline=deadline, patience_s=wanted.seconds)

    wanted = patience or Patience(READ_PATIENCE_S)
    with _interruptible(), contextlib.ExitStack() as opened:
        with _opening():
            require_location(path, reads=False)
            _require_file(path)
            require_content(path)
            attached = _in_turns(open_once, wanted)
            connection = opened.enter_context(contextlib.closing(attached)).connection
            try:
                prefer_builtins(connection, STORE)
                schema.reader_views(connection, path, attached.state)
            except duckdb.Error as error:
                raise _damaged(path, error) from error
        try:
            yield connection
        except duckdb.Error as error:
            raise _damaged(path, error) from error


@contextlib.contextmanager
def _opening() -> Iterator[None]:
    """Turn any error of a store that cannot be opened into a StoreUnavailableError: values have no part in it."""
    try:
        yield
    except StoreUnavailableError:
        raise
    except StoreError as error:
        raise StoreUnavailableError(str(error)) from error


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt if a query was interrupted: DuckDB replaces the one of Ctrl-C by a RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        if str(error) == "Query interrupted":
            raise KeyboardInterrupt from error
        raise


def _require_file(path: Path) -> None:
    if not path.exists():
        raise StoreError(
            f"There is no results store at {path}; `harness run` makes one, "
            "or point --store or HARNESS_STORE at one that exists."
        )


@contextlib.contextmanager
def writing(path: Path, patience: Patience | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the store for one transaction, creating or migrating it first; commit all changes of the block, or none.

    Waits for a store that is in use; by default :data:`WRITE_PATIENCE_S` seconds.

    Raises:
        StoreUnavailableError: the path cannot be written, the file is not a store, a newer schema, still in use at the
            end of the patience, or a full disk; nothing is written then.
        StoreError: a value that does not fit; nothing is written then.
    """
    gap = _last_write.get(path, 0.0) + WRITE_GAP_S - time.monotonic()
    if gap > 0:
        time.sleep(gap)
    wanted = patience or Patience(WRITE_PATIENCE_S)
    try:
        with _interruptible(), contextlib.ExitStack() as opened:
            with _opening():
                require_location(path, reads=False)
                if path.exists():
                    require_content(path)
                make_folder(path)
                turn = _in_turns(lambda deadline: _open_for_writing(path, deadline, wanted.seconds), wanted)
                attached = opened.enter_context(turn).attached
                connection = attached.connection
                schema.migrate(connection, path, attached.state)
                prefer_builtins(connection, STORE)
            with schema.transaction(connection):
                yield connection
            schema.note_written(connection, path)
    except duckdb.Error as error:
        # A full disk, or a value that does not fit its column.
        kind = StoreUnavailableError if isinstance(error, _OF_THE_FILE) else StoreError
        raise kind(f"Nothing was written to the results store {path}: {_first_line(str(error))}") from error
    finally:
        _last_write[path] = time.monotonic()


#: DuckDB's errors that a file system causes.
_OF_THE_FILE = (duckdb.IOException, duckdb.FatalException, duckdb.InternalException)


class _OpenForWriting(contextlib.ExitStack):
    """Attached store with the turnstile closed, until the end of the block."""

    attached: Attached


def _open_for_writing(path: Path, deadline: float, patience_s: float) -> _OpenForWriting:
    with _OpenForWriting() as opened:
        opened.enter_context(lock.closed(path, deadline))
        if not path.exists():
            try:
                schema.create(path)
            except (duckdb.IOException, OSError) as error:
                raise _not_writable(path, error) from error
        attached = _connect(path, read_only=False, deadline=deadline, patience_s=patience_s)
        opened.enter_context(contextlib.closing(attached))
        kept = opened.pop_all()
        kept.attached = attached
        return kept


_Opened = TypeVar("_Opened")


def _in_turns(open_once: Callable[[float], _Opened], patience: Patience) -> _Opened:
    """Call `open_once` with a deadline until it succeeds or the patience ends; between two turns others may pass."""
    deadline = time.monotonic() + patience.seconds
    while True:
        turn = time.monotonic() + _TURN_S
        try:
            return open_once(min(turn, deadline))
        except StoreUnavailableError as error:
            if error.holder is None or time.monotonic() >= deadline:
                raise
            if patience.tell is not None:
                patience.tell(error.holder)
        time.sleep(WRITE_GAP_S)


def make_folder(path: Path) -> None:
    """Create the folder that contains `path`. Raises StoreError if that is not possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"The folder {path.parent} for the results store cannot be made ({error.strerror}); "
            "point --store or HARNESS_STORE at a place that can be written."
        ) from error


def _connect(path: Path, *, read_only: bool, deadline: float, patience_s: float) -> Attached:
    pause = 0.002
    while True:
        try:
            return attach(path, read_only=read_only)
        except (InUse, duckdb.Error) as error:
            if not isinstance(error, InUse) and not _BUSY.search(str(error)):
                raise _explained(path, error, read_only) from error
            if time.monotonic() >= deadline:
                raise _still_busy(path, error, read_only, patience_s) from error
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(pause * 1.5, 0.05)


def _still_busy(path: Path, error: Exception, read_only: bool, patience_s: float) -> StoreUnavailableError:
    holder = re.search(r"\(PID (\d+)\)", str(error))
    who = f"process {holder.group(1)}" if holder else "another connection"
    doing = "is writing to" if read_only else "holds open"
    return StoreUnavailableError(
        f"{who[0].upper()}{who[1:]} {doing} {path} and did not release it within {patience_s:g} s; "
        "try again, or close the process that holds it (a DuckDB shell, for example).",
        who,
    )


def _explained(path: Path, error: Exception, read_only: bool) -> StoreError:
    text = str(error)
    if "not a valid DuckDB database" in text:
        return StoreError(
            f"{path} is not a results store (not a DuckDB file); point --store or HARNESS_STORE at another file."
        )
    if re.search(r"permission denied|read-only file system", text, re.IGNORECASE):
        if read_only:
            return StoreError(f"The results store {path} may not be read by this user; change its permissions.")
        return _not_writable(path, error)
    return StoreUnavailableError(f"The results store {path} cannot be opened: {_first_line(text)}")


def _damaged(path: Path, error: duckdb.Error) -> StoreError:
    return StoreError(
        f"The results store {path} cannot be read: {_first_line(str(error))[:120].rstrip('.')}. If the file is "
        "damaged, use a copy of it or another store."
    )


def _not_writable(path: Path, error: Exception) -> StoreError:
    reason = getattr(error, "strerror", None) or _first_line(str(error))
    return StoreUnavailableError(
        f"The results store {path} cannot be written ({reason}); "
        "point --store or HARNESS_STORE at a place that can be written."
    )


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "no reason given"
