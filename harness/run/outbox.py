"""Writing of results to a store that others use: what cannot be recorded now waits beside it, on disk.

A result is never given up because another process holds the file. It is written to ``<store>.spool/``
(:mod:`results.store.spool`), the run computes on, and every later result tries again. When all cells are computed, the
run waits for the store, but not for ever: what waits on disk is taken in by the next run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Literal, TypeAlias

import pandas as pd

from harness.progress import Reporter
from results import Store
from results.errors import StoreUnavailableError
from results.store.cell_rows import CellRows, CellVersion
from results.store.connection import Patience
from results.store.spool import spool, spool_dir, take_in

#: Seconds after which a result is written beside a store that is in use.
SPOOL_AFTER_S = 0.5

#: Seconds after which the user is told about it: another run's transaction or a reader takes less.
TELL_AFTER_S = 4.5

#: Seconds for which a run whose cells are all computed waits for a store that another process holds.
SETTLE_S = 3600.0

#: Seconds to wait for the store during a computation, as long as nothing waits.
_READ_S = 5.0

#: Seconds between two attempts at the end of a run.
_POLL_S = 0.5

Written: TypeAlias = Literal["recorded", "kept", "waits"]
"""``kept``: the store has another result, which stays"""


class Outbox:
    """Results of a run on their way to the store.

    Args:
        store: store of the run, open for writing.
        seen: results that cells had when the run began; another one is of another run, and is kept.
        reporter: is told when results wait, and when they are recorded.
    """

    def __init__(self, store: Store, seen: dict[str, CellVersion], reporter: Reporter) -> None:
        self.path = store.path
        self.seen = seen
        self.reporter = reporter
        self.waiting: list[str] = []
        """ids of the cells that wait on disk"""
        self.unsaved: list[CellRows] = []
        """results for which the disk has no room"""
        self._images: dict[str, pd.DataFrame] = {}
        self._error: StoreUnavailableError | None = None

    @property
    def n_unrecorded(self) -> int:
        return len(self.waiting) + len(self.unsaved)

    def store(self, patience_s: float | None = None) -> Store:
        """Return the store with some patience; by default with little, which is less while results wait."""
        default = SPOOL_AFTER_S / 2 if self.waiting else _READ_S
        return Store(self.path, read_only=False, patience=Patience(default if patience_s is None else patience_s))

    def put_images(self, fingerprint: str, frame: pd.DataFrame) -> None:
        """Write the images of an evaluation split, or keep them for the next result that waits.

        Raises:
            StoreError: invalid images.
        """
        try:
            self.store(SPOOL_AFTER_S).record_images(fingerprint, frame)
        except StoreUnavailableError:
            self._images[fingerprint] = frame

    def put(self, rows: CellRows) -> Written:
        """Record a result, or write it beside the store.

        Raises:
            StoreUnavailableError: neither is possible (a full disk); the result is in :attr:`unsaved`.
            StoreError: a value that cannot be stored.
        """
        if self.waiting and not self.flush(SPOOL_AFTER_S / 2):
            return self._wait(rows)
        started = datetime.now().astimezone()
        try:
            return self._record(rows, SPOOL_AFTER_S)
        except StoreUnavailableError:
            self._wait(rows)
        try:
            self._take_in(TELL_AFTER_S)
        except StoreUnavailableError as error:
            self._tell(error, started)
            return "waits"
        self.waiting.clear()
        return "recorded"

    def flush(self, patience_s: float) -> bool:
        """Record what waits, and return whether nothing waits any more."""
        if not self.n_unrecorded and not self._images:
            return True
        n = self.n_unrecorded
        try:
            self._take_in(patience_s)
        except StoreUnavailableError as error:
            self._error = error
            return False
        self.waiting.clear()
        if n:
            self.reporter.say(f"The store can be written again: {_results(n)} that waited {_are(n)} recorded.")
        return True

    def settle(self, check: Callable[[], None]) -> bool:
        """Wait until nothing waits any more, at most :data:`SETTLE_S` seconds; return whether that was reached.

        A store that no process holds, but that cannot be written (read-only, a full disk), is not waited for.

        Args:
            check: called between attempts; raises KeyboardInterrupt if the run was asked to stop.
        """
        deadline = time.monotonic() + SETTLE_S
        is_said = False
        while not self.flush(_POLL_S):
            check()
            holder = self._error.holder if self._error is not None else None
            if holder is None or time.monotonic() >= deadline:
                return False
            if not is_said:
                is_said = True
                self.reporter.say(
                    f"No cell is left to compute. {holder[0].upper()}{holder[1:]} still holds {self.path}; this run "
                    f"waits up to {SETTLE_S / 60:.0f} minutes for it. Ctrl-C ends the run and loses nothing."
                )
            time.sleep(_POLL_S)
        return True

    def _record(self, rows: CellRows, patience_s: float) -> Written:
        replaced = self.seen.get(rows.cell_id)

        def keeps(present: CellVersion) -> bool:
            return present != replaced and not present.is_same_computation(rows.version)

        return "recorded" if self.store(patience_s).put(rows, keeps) else "kept"

    def _wait(self, rows: CellRows) -> Written:
        try:
            spool(self.path, rows, self._images)
        except StoreUnavailableError as error:
            self.unsaved.append(rows)
            raise StoreUnavailableError(
                f"{error} Free some space, or make the folder writable, and run the same command again."
            ) from error
        self.waiting.append(rows.cell_id)
        return "waits"

    def _take_in(self, patience_s: float) -> None:
        store = self.store(patience_s)
        for fingerprint, frame in list(self._images.items()):
            store.record_images(fingerprint, frame)
            del self._images[fingerprint]
        while self.unsaved:
            self._record(self.unsaved[0], patience_s)
            del self.unsaved[0]
        for sentence in take_in(store).damaged:
            self.reporter.say(sentence)

    def _tell(self, error: StoreUnavailableError, started: datetime) -> None:
        why = str(error)
        if error.holder is not None:
            why = f"{error.holder[0].upper()}{error.holder[1:]} has held {self.path} since {started:%H:%M:%S}."
        self.reporter.say(
            f"{why} Finished results are kept in {spool_dir(self.path)} and recorded as soon as the store can be "
            "written; the run continues."
        )


def waiting_sentence_at_end(outbox: Outbox) -> str | None:
    """Return a sentence on what could not be recorded when a run ended; None if all is recorded."""
    sentences: list[str] = []
    if outbox.waiting:
        n, folder = len(outbox.waiting), spool_dir(outbox.path)
        sentences.append(f"{_results(n)} could not be recorded and {_are(n, past=False)} kept in {folder}.")
    if outbox.unsaved:
        n = len(outbox.unsaved)
        sentences.append(f"{_results(n)} could not be written at all; {'its cell is' if n == 1 else 'their cells are'}")
        sentences[-1] += " computed again by the next run."
    return " ".join(sentences) or None


def _results(n: int) -> str:
    return "1 result" if n == 1 else f"{n} results"


def _are(n: int, *, past: bool = True) -> str:
    if past:
        return "was" if n == 1 else "were"
    return "is" if n == 1 else "are"
