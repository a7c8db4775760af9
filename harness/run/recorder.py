"""Recorder: the only writer of cells during a run, whichever executor computes them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from harness.atomic import remove
from harness.cells.fit import SavedFit, fit_of_result, serves
from harness.cells.plan import Cell, PreparedTarget
from harness.cells.run_cell import CellResult, Failure, work_dir
from harness.datasets.loading import BrokenReport
from harness.executors.base import Event, Opened, Work
from harness.identity import digest
from harness.run.journal import Journal
from harness.run.outbox import Outbox, Written
from harness.run.shared_work import SharedWork
from harness.run.step_times import StepTimes
from methods.tracing import traced
from results.errors import StoreUnavailableError
from results.store.cell_rows import CellRows


class Recorder:
    """Write the events of an executor to the store, count them, and report them."""

    def __init__(self, outbox: Outbox, shared: SharedWork, work: Work, journal: Journal, times: StepTimes) -> None:
        self.outbox = outbox
        self.shared = shared
        self.work = work
        self.journal = journal
        self.times = times
        """receives the time of each step"""
        self.finished = 0
        self.failed = 0
        self.broken = BrokenReport()
        self._fits: dict[str, tuple[SavedFit, str]] = {}

    @traced("writing to the store")
    def take(self, event: Event) -> None:
        """Write one event.

        Raises:
            StoreError: it can be written neither to the store nor beside it.
        """
        self.times.take(event)
        if isinstance(event, Opened):
            self._opened(event)
        else:
            self._done(event)

    def waiting_fits(self, cell: Cell) -> tuple[SavedFit, ...]:
        """Return the fits that the cell can load and that are not in the store yet."""
        if not self.outbox.n_unrecorded:
            self._fits.clear()
        return tuple(
            fit
            for fit, method in self._fits.values()
            if self.shared.group_of(fit.cell_id) == cell.fit_group and serves(fit, method, cell)
        )

    def _opened(self, event: Opened) -> None:
        prepared = event.prepared
        self.outbox.put_images(digest(prepared.evaluation_identity()), _image_frame(prepared))
        self.broken |= event.broken
        if event.broken:
            self.journal.say(f"  {BrokenReport(event.broken).summary()}")

    def _done(self, result: CellResult) -> None:
        if result.log_problem:
            self.journal.say_once(f"  {result.log_problem}")
        try:
            written = self._write(result)
        except StoreUnavailableError:
            raise
        except Exception as error:
            if not result.finished:
                raise
            # If only the scores are invalid, the failure can be recorded; if the store is unusable, this raises too.
            result = _refused(result, error)
            written = self._write(result)
        cell_id = result.record.cell_id
        if written == "kept" and self.shared.is_of_another_run(cell_id):
            # This run was suspended, and another one took the cell over. It has been counted and reported.
            self._end(cell_id, written)
            return
        if result.finished:
            self.finished += 1
        else:
            self.failed += 1
        self._end(cell_id, written, is_finished=result.finished)
        ending = {"recorded": "", "kept": "; its earlier result is kept", "waits": "; it waits for the store"}[written]
        self.journal.ended(cell_id, result.title, f"{result.headline}{ending}", result.record.seconds)

    def _write(self, result: CellResult) -> Written:
        written = self.outbox.put(
            CellRows.of(result.record, result.scores, result.units, result.curves, result.outcomes, result.unit_maps)
        )
        fit = fit_of_result(result.record, result.scores) if written == "waits" else None
        if fit is not None:
            self._fits[fit.cell_id] = fit, result.record.method
        return written

    def _end(self, cell_id: str, written: Written, *, is_finished: bool = True) -> None:
        # A run that has lost its claim leaves the files of the run that computes the cell now.
        if is_finished and self.shared.holds(cell_id):
            remove(work_dir(self.work.context.folder, cell_id))
        self.shared.ended(cell_id, is_recorded=written != "waits")


def _refused(result: CellResult, error: Exception) -> CellResult:
    failure = Failure.of(error)
    record = dataclasses.replace(
        result.record,
        status="failed",
        fit_seconds=None,
        fit_id=None,
        n_units=None,
        notes=(),
        artifact=None,
        error_type=failure.error_type,
        error_message=failure.message,
        traceback=failure.traceback,
    )
    return CellResult(record, result.title, f"failed: {failure.error_type}: {failure.message}")


def _image_frame(prepared: PreparedTarget) -> pd.DataFrame:
    images = prepared.evaluation
    labels = images.labels
    return pd.DataFrame(
        {
            "index": np.arange(len(images)),
            "name": [record.name for record in images.records],
            "label": labels,
            "class_name": [images.classes[label] if label >= 0 else None for label in labels],
        }
    )
