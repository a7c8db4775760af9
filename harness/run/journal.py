"""Journal of a run: each cell as "i of n" with the time left, for the user and in a log file beside the store."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
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


class Journal(Reporter):
    """Reporter that counts the cells, passes everything on, and writes it to a log file.

    A log that cannot be written is reported once and stops nothing.

    Args:
        reporter: receives the messages.
        kinds: cell id -> kind, of the cells that are left (see :class:`TimeLeft`).
        known: kind -> seconds of one cell, from earlier runs.
        file: log file; its folder is created.
    """

    def __init__(self, reporter: Reporter, kinds: Mapping[str, str], known: Mapping[str, float], file: Path) -> None:
        self.reporter = reporter
        self.file = file
        self.left = TimeLeft(kinds, known)
        self._n_cells = self._n_ended = 0
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

    def say_once(self, sentence: str) -> None:
        self.reporter.say_once(sentence)
        self._write(sentence)

    def progress(self, done: int, total: int, what: str) -> None:
        self.reporter.progress(done, total, what)

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
        if self._log is None:
            return
        moment = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        try:
            self._log.write(f"{moment} {visible(text)}\n")
        except OSError as error:
            self.close()
            self.reporter.say(f"The log {self.file} cannot be written any more ({error.strerror or error}).")


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
