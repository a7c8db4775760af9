"""Progress of a rehearsal: the times of its cells; their scores mean nothing and are not shown."""

from __future__ import annotations

from harness.progress import Reporter


class TimesOnly(Reporter):
    """Reporter that passes on the progress, without the sentences about images, heads and scores.

    Args:
        inner: receives the progress.
    """

    def __init__(self, inner: Reporter) -> None:
        self.inner = inner

    def start(self, n_cells: int, n_finished: int) -> None:
        self.inner.start(n_cells, n_finished)

    def progress(self, done: int, total: int, what: str) -> None:
        self.inner.progress(done, total, what)

    def cell(self, title: str, outcome: str) -> None:
        """Report a cell with its time, or with its error."""
        self.inner.cell(title, outcome if outcome.startswith("failed") else outcome.rpartition(" in ")[2])

    def time_left(self, seconds: float | None) -> None:
        self.inner.time_left(seconds)

    def stop(self) -> None:
        self.inner.stop()
