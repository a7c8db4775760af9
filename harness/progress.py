"""What a person sees while a run goes on: bars on a terminal, one line a finished cell elsewhere."""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Reporter(Protocol):
    """Told by a run what is happening."""

    def start(self, n_cells: int, n_finished: int) -> None: ...
    def say(self, sentence: str) -> None: ...
    def progress(self, done: int, total: int, what: str) -> None: ...
    def cell(self, title: str, outcome: str) -> None: ...
    def stop(self) -> None: ...


class Silent:
    """Says nothing: for notebooks and tests."""

    def start(self, n_cells: int, n_finished: int) -> None:
        pass

    def say(self, sentence: str) -> None:
        pass

    def progress(self, done: int, total: int, what: str) -> None:
        pass

    def cell(self, title: str, outcome: str) -> None:
        pass

    def stop(self) -> None:
        pass


class Terminal:
    """Two bars on a terminal (all cells, and the step that runs now); plain lines where the output is a file."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bars: Progress | None = None
        self._all: TaskID | None = None
        self._step: TaskID | None = None
        self._what = ""
        self._last = 0.0

    def start(self, n_cells: int, n_finished: int) -> None:
        if not self.console.is_terminal:
            return
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self._all = self.bars.add_task("cells", total=n_cells, completed=n_finished)
        self._step = self.bars.add_task("", total=None)
        self.bars.start()

    def say(self, sentence: str) -> None:
        self._print(escape(sentence))

    def _print(self, text: str) -> None:
        # A file has no width: one line a sentence, so that it can be searched.
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
        self._print(f"  {escape(title)}: {escape(outcome)}")
        if self.bars is not None and self._all is not None:
            self.bars.advance(self._all)

    def stop(self) -> None:
        if self.bars is not None:
            self.bars.stop()
            self.bars = None
