"""Log of one cell, from which nothing reaches the fit: no exception, no output, no random draw, no changed setting."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import operator
import threading
from collections.abc import Callable, Mapping, Sequence

from harness.errors import UserError
from harness.training_logs.base import TRAINING_LOGS, LoggedRun, TrainingLog
from methods.plugin_calls import calling
from methods.plugin_errors import clean_text, plugin_call
from methods.plugin_threads import background_threads
from methods.process_state import restored_generators

#: (run, logger) that has failed in this process: the cells that follow are not logged.
_switched_off: set[tuple[str, str]] = set()

#: Most characters of the name of a metric, and the largest step that loggers can write.
_LONGEST_NAME, _LARGEST_STEP = 100, 2**63 - 1


class GuardedLog:
    """Training log of one cell. A failure is kept in :attr:`problem` and switches the log off for the run.

    Args:
        name: name of the logger.
        run: cell to log.
        harness_run: id of the run that computes the cell.
    """

    def __init__(self, name: str, run: LoggedRun, *, harness_run: str) -> None:
        self.problem = ""
        """one sentence for the user; empty if nothing was wrong"""
        self._name = name
        self._run = run
        self._key = (harness_run, name)
        self._thread = threading.get_ident()
        self._logger: TrainingLog | None = None
        self._written: set[tuple[int, str]] = set()
        self._waiting: list[tuple[int, dict[str, float]]] = []

    def open(self) -> None:
        """Start the log, unless an earlier one of this run has failed."""
        if self._key in _switched_off:
            return

        def start() -> None:
            with calling(TRAINING_LOGS, self._name):
                logger = TRAINING_LOGS.get(self._name)()
            logger.open(self._run)
            self._logger = logger

        self._call(start)

    def on_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Write metrics of a step (:attr:`methods.base.Method.on_metrics`); a second value of a point is ignored."""
        try:
            number = operator.index(step)
            numbers = {clean_text(str(name))[:_LONGEST_NAME]: float(value) for name, value in values.items()}
        except Exception:
            self.problem = self.problem or f"{self._run.name}: metrics that are no numbers of a step were not logged."
            return
        if not 0 <= number <= _LARGEST_STEP:
            self.problem = self.problem or f"{self._run.name}: metrics of the step {number} were not logged."
            return
        self._waiting.append((number, numbers))
        # In another thread the random generators cannot be restored without disturbing the fit.
        if threading.get_ident() == self._thread:
            self._flush()

    def finish(self, curves: Mapping[str, Sequence[tuple[int, float]]], scores: Mapping[str, float]) -> None:
        """Write the points of the curves that were not logged during the fit, and the scores; then close."""
        points: dict[int, dict[str, float]] = {}
        for series, curve in curves.items():
            for step, value in curve:
                points.setdefault(step, {})[series] = value
        for step in sorted(points):
            self.on_metrics(step, points[step])
        self._flush()
        finite = {name: value for name, value in scores.items() if math.isfinite(value)}
        if self._logger is not None:
            self._call(functools.partial(self._logger.summarise, finite))
        self.close(failed=False)

    def close(self, *, failed: bool) -> None:
        """End the log; a second call does nothing."""
        self._flush()
        logger, self._logger = self._logger, None
        if logger is not None:
            self._call(functools.partial(logger.close, failed=failed))

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for step, values in waiting:
            new = {name: value for name, value in values.items() if (step, name) not in self._written}
            self._written.update((step, name) for name in new)
            if self._logger is not None and new:
                self._call(functools.partial(self._logger.log, step, new))

    def _call(self, call: Callable[[], object]) -> None:
        """Call the logger; if it raises, keep the reason and switch it off. Only an interruption goes through."""
        try:
            with (
                background_threads(),
                plugin_call(f"The training log {self._name!r}"),
                restored_generators(),
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                call()
        except UserError as error:
            self._logger = None
            _switched_off.add(self._key)
            self.problem = f"{str(error).rstrip('.')}. The run goes on without this log."
