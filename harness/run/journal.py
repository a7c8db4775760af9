"""Journal of a run: each cell as "i of n" with the time left, for the user and in a log file beside the store."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from harness.cells.plan import Cell
from harness.progress import Reporter
from harness.time_left import TimeLeft
from results import Store
from results.duration_text import duration_text
from results.run_log import log_file
from results.visible_text import visible

#: Seconds without a line in the log after which a step's progress is written, for the first time and at most.
_FIRST_STEP_S, _LONGEST_STEP_S = 10.0, 300.0


class Journal(Reporter):
    """Reporter that counts the cells, passes everything on, and writes it to a log file.

    A step that takes long is logged in intervals that double, so a log shows that a run lives and stays short.

    A log that cannot be written is reported once and stops nothing.

    Args:
        reporter: receives the messages.
        kinds: cell id -> kind, of the cells that are left (see :class:`TimeLeft`).
        known: kind -> seconds of one cell, from earlier runs.
        file: log file; its folder is created.
        clock: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        reporter: Reporter,
        kinds: Mapping[str, str],
        known: Mapping[str, float],
        file: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.reporter = reporter
        self.file = file
        self.left = TimeLeft(kinds, known)
        self._clock = clock
        self._n_cells = self._n_ended = 0
        self._logged_once: set[str] = set()
        self._written_at = clock()
        self._silence_s = _FIRST_STEP_S
        self._log: TextIO | None = None
        try:
            file.parent.mkdir(exist_ok=True)
            self._log = file.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            reporter.say(f"No log is written: {file} cannot be opened ({error.strerror or error}).")

    def start(self, n_cells: int, n_finished: int) -> None:
        self._n_cells, self._n_ended = n_cells, n_finished
        self.reporter.start(n_cells, n_finished)
        self.reporter.time_left(self.left.seconds())

    def say(self, sentence: str) -> None:
        self.reporter.say(sentence)
        self._write(sentence)

    def log(self, sentence: str) -> None:
        """Write a sentence to the log file alone."""
        self._write(sentence)

    def say_once(self, sentence: str) -> None:
        self.reporter.say_once(sentence)
        # The reporter serves all parts of a suite, and each part has a log of its own.
        if sentence not in self._logged_once:
            self._logged_once.add(sentence)
            self._write(sentence)

    def progress(self, done: int, total: int, what: str) -> None:
        self.reporter.progress(done, total, what)
        if self._clock() - self._written_at >= self._silence_s:
            silence_s = min(2 * self._silence_s, _LONGEST_STEP_S)
            self._write(step_text(done, total, what))
            self._silence_s = silence_s

    def ended(self, cell_id: str, title: str, outcome: str, seconds: float | None = None) -> None:
        """Report a cell that has ended, after ``seconds``; None for a cell that another run computed."""
        self._n_ended += 1
        self.left.ended(cell_id, seconds)
        left = self.left.seconds()
        counted = f"{self._n_ended}/{self._n_cells} {title}"
        self.reporter.time_left(left)
        self.reporter.cell(counted, outcome)
        self._write(f"{counted}: {outcome} [{cell_id}]{left_text(left)}")

    def cell(self, title: str, outcome: str) -> None:
        self.reporter.cell(title, outcome)
        self._write(f"{title}: {outcome}")

    def stop(self) -> None:
        self.reporter.stop()

    def close(self) -> None:
        """Close the log file."""
        log, self._log = self._log, None
        if log is not None:
            with contextlib.suppress(OSError):
                log.close()

    def _write(self, text: str) -> None:
        self._written_at, self._silence_s = self._clock(), _FIRST_STEP_S
        if self._log is None:
            return
        moment = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        try:
            self._log.write(f"{moment} {visible(text)}\n")
        except OSError as error:
            self.close()
            self.reporter.say(f"The log {self.file} cannot be written any more ({error.strerror or error}).")


def step_text(done: int, total: int, what: str) -> str:
    """Return the progress of a step as a line of the log; `results.app.run_progress` reads it."""
    return f"... {what}: {done} of {total}"


def left_text(seconds: float | None) -> str:
    """Return the end of a line on the time left; empty if it is not known, or nothing is left."""
    return f"; about {duration_text(seconds, is_rough=True)} left" if seconds else ""


def open_journal(reporter: Reporter, store: Store, cells: Sequence[Cell], run_id: str) -> Journal:
    """Return the journal of a run that still has to compute ``cells``, with its log file beside the store."""
    file = log_file(store.path, run_id)
    assert file is not None
    return Journal(reporter, {cell.cell_id: _kind(cell) for cell in cells}, _known_seconds(store), file)


def _kind(cell: Cell) -> str:
    """Return what cells that take about the same time have in common: the layer and the row of the board."""
    return f"{cell.prepared.title} {cell.label}"


def _known_seconds(store: Store) -> dict[str, float]:
    """Return kind -> seconds of the finished cells of earlier runs."""
    frame = store.query(
        "SELECT coalesce(backbone_title, backbone) || ' at ' || site || ' ' || label AS kind, avg(seconds) AS seconds "
        "FROM cells WHERE status = 'finished' AND isfinite(seconds) GROUP BY 1"
    )
    return {str(kind): float(seconds) for kind, seconds in zip(frame["kind"], frame["seconds"], strict=True)}
