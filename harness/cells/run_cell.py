"""Computation of one cell: fit, measure, save. The store is neither read nor written, so a cell can run anywhere."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from harness import devices, provenance
from harness.cells.divided_fit import DividedFit
from harness.cells.evaluate import evaluate
from harness.cells.fit import SavedFit, fit_cell, keep
from harness.cells.guards import guarded_method, seed_generators
from harness.cells.inputs import Inputs
from harness.cells.plan import Cell
from harness.cells.training_log import open_log, score_values
from harness.identity import digest
from harness.training_logs.guard import GuardedLog
from methods import numerics
from methods.base import Progress, no_metrics, no_progress
from methods.file_settings import content_of, files_of
from methods.interrupts import interrupting, is_interrupt, raise_interrupt
from methods.memory import says_out_of_memory
from methods.plugin_errors import text_of, traceback_text, type_and_text, type_name
from methods.raw_exceptions import is_a
from results import CellRecord, ScoreRecord
from results.boards.board import Column, digits_of
from results.duration_text import duration_text
from results.store.further_set import FURTHER_SET
from results.store.outcomes import ImageOutcome

#: Scores shown in the line of a finished cell, if it has them.
HEADLINE = ("ms_score", "r2", "accuracy", "agreement", "efficiency_ratio")

#: Fields that a score and a column of a board have in common.
_COLUMN_FIELDS = ("metric", "version", "params", "panel", "evaluation_fingerprint", "unit", "direction")

#: Fields of a method's spec that its cells record. They are no part of a cell's identity.
CLAIMS = ("stable", "training_free", "explicit", "lossless", "supervised", "virtual", "family", "control_for")


class CellContext(NamedTuple):
    """Run, suite, device and folder of a cell's computation."""

    run_id: str
    suite: str
    """name of the suite"""
    device: str
    """``cpu``, ``cuda`` or ``cuda:N`` of the machine that computes"""
    folder: Path
    """folder of the store: fits are written to ``artifacts/`` in it, and files to resume a killed fit to ``work/``"""
    log: str | None = None
    """name of the training log (:mod:`harness.training_logs`); None: none"""


OUT_OF_MEMORY = (
    "There was not enough memory: give the method fewer units or a smaller batch_size, use fewer tokens or workers, or "
    "use a device with more memory."
)


class Failure(NamedTuple):
    """Exception as text, which can be recorded and passed between processes whatever objects the exception holds."""

    error_type: str
    message: str
    traceback: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        text = traceback_text(error).replace(str(Path(__file__).parents[2]), ".")
        message = text_of(error)
        if is_a(error, SystemExit):
            message = f"sys.exit or os._exit was called ({message}): raise an exception instead."
        if is_a(error, MemoryError | torch.OutOfMemoryError) or says_out_of_memory(message):
            message = f"{OUT_OF_MEMORY} ({type_and_text(error)[:200]})"
        return cls(type_name(error), message, text)


@dataclasses.dataclass(frozen=True)
class CellResult:
    """Record of one cell, finished or failed, in plain values."""

    record: CellRecord
    title: str
    headline: str
    """a few scores and the time, or the error"""
    scores: Sequence[ScoreRecord] = ()
    units: pd.DataFrame | None = None
    curves: pd.DataFrame | None = None
    outcomes: Mapping[str, ImageOutcome] = dataclasses.field(default_factory=dict)
    """metric -> outcome of each image"""
    unit_maps: pd.DataFrame | None = None
    log_problem: str = ""
    """sentence for the user about the training log; empty if nothing was wrong"""
    fit_step_seconds: float = 0.0
    """time of the fit in this cell, its parts included, or of loading it; ``record.fit_seconds`` is that of the
    original fit"""

    @property
    def finished(self) -> bool:
        return self.record.status == "finished"


# All libraries use the same number of threads, and a cell that changes it does not change it for the next one.
@numerics.threads()
def run_cell(
    cell: Cell,
    inputs: Inputs,
    context: CellContext,
    *,
    saved_fits: Sequence[SavedFit] = (),
    divided: DividedFit | None = None,
    progress: Progress = no_progress,
) -> CellResult:
    """Fit the cell's method (or load a saved fit), measure it and save it. An exception gives a failed result.

    The fitted method is written to ``artifacts/`` in ``context.folder``, completely or not at all.

    Args:
        saved_fits: fits of finished cells with the same fit identity.
        divided: the parts of the fit, if they were computed before (:mod:`harness.cells.divided_fit`).
        progress: called at each step; a KeyboardInterrupt it raises ends the cell without a result.
    """
    log = open_log(context.log, cell, context.folder, context.run_id, context.suite)
    started, clock = datetime.now(UTC), time.perf_counter()
    try:
        with guarded_method(cell.spec.name):
            result = _computed(cell, inputs, context, saved_fits, divided, progress, log)
    except BaseException as error:
        if log is not None:
            log.close(failed=True)
        # Whatever a plugin raises is the failure of its cell; only the user ends the run.
        if is_interrupt(error):
            raise_interrupt(error)
        result = failed(cell, context, Failure.of(error), started, time.perf_counter() - clock)
    return result if log is None else dataclasses.replace(result, log_problem=log.problem)


def _computed(
    cell: Cell,
    inputs: Inputs,
    context: CellContext,
    saved_fits: Sequence[SavedFit],
    divided: DividedFit | None,
    progress: Progress,
    log: GuardedLog | None,
) -> CellResult:
    """Fit, measure and save; exceptions of the method and of its inputs are raised."""
    started, clock = datetime.now(UTC), time.perf_counter()
    folder, device = context.folder, context.device

    @interrupting
    def tell(done: int, total: int, what: str) -> None:
        progress(done, total, f"{cell.label}, token seed {cell.plan.seed}: {what}")

    environment = provenance.environment()
    seed_generators(cell.plan.seed, cell.init_seed)
    resume_dir = work_dir(folder, cell.cell_id)
    tokens = inputs.tokens[cell.plan]
    fit_clock = time.perf_counter()
    fit = fit_cell(
        cell,
        tokens,
        saved_fits,
        folder,
        device=device,
        progress=tell,
        work_dir=resume_dir,
        divided=divided,
        on_metrics=no_metrics if log is None else log.on_metrics,
    )
    parts_seconds = 0.0 if divided is None else divided.seconds or 0.0
    fit_step_seconds = parts_seconds + time.perf_counter() - fit_clock
    method = fit.method
    evaluation = evaluate(method, inputs.baseline, cell.metrics, progress=tell)
    artifact = keep(fit, cell, folder, tokens, device)
    seconds = parts_seconds + time.perf_counter() - clock
    warnings = [numerics.NOT_REPRODUCIBLE] if environment["mkl_cbwr"] == "off" else []
    record = _record(
        cell,
        context,
        status="finished",
        started_at=started,
        seconds=seconds,
        fit_seconds=fit.seconds,
        fit_id=fit.fit_id,
        n_units=method.n_units,
        notes=(
            *_further_set_notes(cell),
            *_file_notes(cell),
            *method.notes,
            *fit.notes,
            *evaluation.notes,
            *inputs.notes(),
            *warnings,
        ),
        artifact=artifact,
        environment=environment,
    )
    headline = _headline(evaluation.scores, seconds)
    scores = [*evaluation.scores, *fit.evidence]
    curves = method.curves
    if log is not None:
        log.finish(curves, score_values(scores))
    return CellResult(
        record,
        title_of(cell),
        headline,
        scores,
        evaluation.units,
        _curve_frame(curves),
        evaluation.outcomes,
        unit_maps=evaluation.unit_maps,
        fit_step_seconds=fit_step_seconds,
    )


def failed(
    cell: Cell, context: CellContext, failure: Failure, started: datetime | None = None, seconds: float = 0.0
) -> CellResult:
    """Return the result of a cell that could not be finished."""
    record = _record(
        cell,
        context,
        status="failed",
        started_at=started or datetime.now(UTC),
        seconds=seconds,
        error_type=failure.error_type,
        error_message=failure.message,
        traceback=failure.traceback,
    )
    return CellResult(record, title_of(cell), f"failed: {failure.error_type}: {failure.message}")


def title_of(cell: Cell) -> str:
    """Return the human-readable name of the cell."""
    return f"{cell.label} (token seed {cell.plan.seed}, init seed {cell.init_seed})"


def work_dir(folder: Path, cell_id: str) -> Path:
    """Return the folder of a cell's files to resume a killed fit. It is needed until the cell is recorded."""
    return folder / "work" / cell_id


def _record(cell: Cell, context: CellContext, **outcome: Any) -> CellRecord:
    """Return the record of a cell; ``outcome`` gives the fields that do not follow from its plan."""
    prepared, spec = cell.prepared, cell.spec
    return CellRecord(
        cell_id=cell.cell_id,
        run_id=context.run_id,
        suite=context.suite,
        backbone=prepared.backbone.name,
        backbone_title=prepared.backbone.title,
        site=prepared.site.path,
        dataset=prepared.dataset,
        probing_fingerprint=digest(cell.probing_identity),
        evaluation_fingerprint=digest(prepared.evaluation_identity()),
        method=spec.name,
        label=cell.label,
        config=cell.method_identity["config"],
        config_id=cell.config_id,
        token_seed=cell.plan.seed,
        init_seed=cell.init_seed,
        identity=cell.identity,
        device=devices.device_name(context.device),
        dtype="float32",
        d_in=prepared.site.d_in,
        d_out=prepared.site.d_out,
        claims={key: getattr(spec, key) for key in CLAIMS},
        **outcome,
    )


def _further_set_notes(cell: Cell) -> list[str]:
    """Return the notes on a further image set, by which a reader of the store tells such a cell."""
    return [note for note in cell.prepared.evaluation.notes if note.startswith(FURTHER_SET)]


def _file_notes(cell: Cell) -> list[str]:
    """Return the names of the files that settings name: the record of the configuration has their content only."""
    return [
        f"The setting {setting} names the file {path.name!r} ({content_of(path)})."
        for setting, path in files_of(cell.config).items()
    ]


def _headline(records: Sequence[ScoreRecord], seconds: float) -> str:
    scores = {score.metric: score for score in records}
    parts = [f"{name} {_text_of(scores[name])}" for name in HEADLINE if name in scores]
    return f"{', '.join(parts)} in {duration_text(seconds)}"


def _text_of(score: ScoreRecord) -> str:
    """Return the value with its unit, formatted as on a board."""
    assert score.value is not None
    fields: dict[str, Any] = {field: getattr(score, field) for field in _COLUMN_FIELDS}
    column = Column(key=score.metric, device=None, digits=digits_of(score.unit, [score.value]), **fields)
    unit = "%" if score.unit == "fraction" else score.unit
    return f"{column.text(score.value)} {unit}".rstrip()


def _curve_frame(curves: Mapping[str, Sequence[tuple[int, float]]]) -> pd.DataFrame | None:
    points = [(series, step, value) for series, curve in curves.items() for step, value in curve]
    return pd.DataFrame(points, columns=["series", "step", "value"]) if points else None
