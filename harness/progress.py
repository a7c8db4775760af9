"""Progress output of a run: bars on a terminal, otherwise one line per finished cell."""

from __future__ import annotations

import time

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from results.duration_text import duration_text
from results.visible_text import visible


class Reporter:
    """Receiver of the progress events of a run; the base class ignores all of them."""

    def start(self, n_cells: int, n_finished: int) -> None:
        """Start with ``n_finished`` of ``n_cells`` cells done."""

    def say(self, sentence: str) -> None:
        """Report a sentence for the user."""

    def say_once(self, sentence: str) -> None:
        """Report a sentence unless this reporter has reported it before, as for the parts of a suite."""
        said: set[str] = self.__dict__.setdefault("_said", set())
        if sentence not in said:
            said.add(sentence)
            self.say(sentence)

    def progress(self, done: int, total: int, what: str) -> None:
        """Report the progress of one step of a cell."""

    def cell(self, title: str, outcome: str) -> None:
        """Report a cell that has ended."""

    def time_left(self, seconds: float | None) -> None:
        """Receive the estimated time until all cells have ended; None: not known. It precedes the report of a cell."""

    def stop(self) -> None:
        """End the report."""


class Silent(Reporter):
    """Reporter without output, for notebooks and tests."""


class Terminal(Reporter):
    """Reporter with two bars (all cells, current step) on a terminal, and plain lines if the output is a file."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bars: Progress | None = None
        self._all: TaskID | None = None
        self._step: TaskID | None = None
        self._what = ""
        self._last = 0.0
        self._left: float | None = None

    def start(self, n_cells: int, n_finished: int) -> None:
        if not self.console.is_terminal:
            return
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            console=self.console,
            transient=True,
        )
        self._all = self.bars.add_task("cells", total=n_cells, completed=n_finished, left="")
        self._step = self.bars.add_task("starting", total=None, left="")
        self.bars.start()

    def say(self, sentence: str) -> None:
        self._print(escape(visible(sentence)))

    def _print(self, text: str) -> None:
        # No wrapping in files: one line per message can be searched.
        self.console.print(text, highlight=False, emoji=False, soft_wrap=not self.console.is_terminal)

    def progress(self, done: int, total: int, what: str) -> None:
        now = time.monotonic()
        if self.bars is None or self._step is None or (done < total and what == self._what and now - self._last < 0.1):
            return
        if what != self._what:
            self.bars.reset(self._step, description=what)
        self._what, self._last = what, now
        self.bars.update(self._step, total=total, completed=done)

    def cell(self, title: str, outcome: str) -> None:
        # On a terminal the bar shows the time left.
        left = ""
        if self._left and not self.console.is_terminal:
            left = f"; about {duration_text(self._left, is_rough=True)} left"
        self._print(f"  {escape(visible(title))}: {escape(visible(outcome))}{left}")
        if self.bars is not None and self._all is not None:
            self.bars.advance(self._all)

    def time_left(self, seconds: float | None) -> None:
        self._left = seconds
        if self.bars is not None and self._all is not None:
            self.bars.update(self._all, left=f"about {duration_text(seconds, is_rough=True)} left" if seconds else "")

    def stop(self) -> None:
        if self.bars is not None:
            self.bars.stop()
            self.bars = None
