"""Recorder: the only writer of the store during a run, whichever executor computes the cells."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from harness.atomic import remove
from harness.cells.plan import PreparedTarget
from harness.cells.run_cell import CellResult, Failure, work_dir
from harness.datasets.loading import BrokenReport
from harness.executors.base import Event, Opened, Work
from harness.identity import digest
from harness.progress import Reporter
from results import Store


class Recorder:
    """Write the events of an executor to the store, count them, and report them."""

    def __init__(self, store: Store, work: Work, reporter: Reporter) -> None:
        self.store = store
        self.work = work
        self.reporter = reporter
        self.finished = 0
        self.failed = 0
        self.broken = BrokenReport()

    def take(self, event: Event) -> None:
        """Write one event.

        Raises:
            StoreError: the store cannot be written.
        """
        if isinstance(event, Opened):
            self._opened(event)
        else:
            self._done(event)

    def _opened(self, event: Opened) -> None:
        prepared = event.prepared
        self.store.record_images(digest(prepared.evaluation_identity()), _image_frame(prepared))
        self.broken |= event.broken
        if event.broken:
            self.reporter.say(f"  {BrokenReport(event.broken).summary()}")

    def _done(self, result: CellResult) -> None:
        try:
            earlier_kept = not self.store.record(
                result.record, result.scores, result.units, result.curves, result.outcomes
            )
        except Exception as error:
            if not result.finished:
                raise
            # If only the scores are invalid, the failure can be recorded; if the store is unusable, this raises too.
            result = _refused(result, error)
            earlier_kept = not self.store.record(result.record)
        if result.finished:
            self.finished += 1
            remove(work_dir(self.work.context.folder, result.record.cell_id))
        else:
            self.failed += 1
        ending = "; its earlier result is kept" if earlier_kept else ""
        self.reporter.cell(result.title, f"{result.headline}{ending}")


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
