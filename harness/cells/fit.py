"""Fit of a cell: made once, observed, saved, and reused by every cell that differs in its evaluation only.

A fitted method is saved as ``artifacts/<fit_id>.safetensors`` beside the store. ``cells.artifact`` holds the file name
for each cell, so files with other names (older ones are named by cell) stay valid.

A fit that needs another method's fit (:meth:`methods.base.Method.prerequisite`) is given that of a finished cell, if
there is one. Its time and evidence then include those of that fit, as if it had been made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness import devices
from harness.activations.cached import require_regular_files
from harness.activations.offers import granted
from harness.activations.token_set import TokenSet
from harness.cells.divided_fit import DividedFit, joined
from harness.cells.fit_cost import FIT_MEMORY, cost_of
from harness.cells.fit_evidence import GRADIENTS, LABELS, observing, summed
from harness.cells.method_output import require_fit, require_saved
from harness.cells.plan import Cell
from methods import numerics
from methods.base import Device, Method, OnMetrics, Progress, no_metrics
from methods.file_settings import same_settings
from methods.interrupts import is_interrupt, raise_interrupt
from methods.plugin_errors import failing_threads
from methods.process_state import restored
from methods.tracing import traced
from results import CellRecord, ScoreRecord, Store
from results.store.artifacts import artifact_file
from results.store.records import records_of

ARTIFACTS = "artifacts"

#: Number of tokens whose codes a plugin's saved fit must reproduce.
SAVED_ROWS = 64

#: Metrics that are observed during a fit, and belong to every cell that loads it.
_EVIDENCE = (GRADIENTS, LABELS, FIT_MEMORY)

RESUMED = "The fit was stopped and resumed: its time is not known, and its peak of memory is of the last part."


class Fit(NamedTuple):
    """Fitted method with its time, identity, file and evidence."""

    method: Method
    seconds: float | None
    """fitting time; of the original fit if it was loaded; None if the fit was resumed after it was stopped"""
    fit_id: str | None
    """None if some of its images could not be read: no other cell may use it then"""
    artifact: str | None
    """file that already holds the fit, relative to the store's folder; None: :func:`keep` writes it"""
    evidence: tuple[ScoreRecord, ...]
    """evidence observed during the fit (:mod:`harness.cells.fit_evidence`), and its peak of memory"""
    notes: tuple[str, ...] = ()


class SavedFit(NamedTuple):
    """Fit of a finished cell, which another cell with the same fit identity can load."""

    cell_id: str
    fit_id: str
    artifact: str
    """relative to the store's folder"""
    seconds: float | None
    evidence: tuple[ScoreRecord, ...]


def saved_fits(cell: Cell, store: Store) -> tuple[SavedFit, ...]:
    """Return the fits of finished cells with the same fit identity, or that of its prerequisite, oldest first."""
    wanted = [cell.fit_id, *_prerequisite_ids(cell, store)]
    rows = store.query(
        "SELECT cell_id, fit_id, artifact, fit_seconds FROM cells "
        "WHERE list_contains(?, fit_id) AND status = 'finished' AND artifact IS NOT NULL ORDER BY started_at, cell_id",
        [wanted],
    )
    return tuple(
        SavedFit(
            row["cell_id"], row["fit_id"], row["artifact"], row["fit_seconds"], _evidence_of(store, row["cell_id"])
        )
        for row in records_of(rows)
        if artifact_file(store.path.parent, row["artifact"]) is not None
    )


def serves(fit: SavedFit, method: str, cell: Cell) -> bool:
    """Return whether a fit of a cell of the same :attr:`Cell.fit_group` is the cell's own, or its prerequisite's.

    Args:
        fit: fit of another cell.
        method: name of the method that was fitted.
        cell: cell to fit.
    """
    needed = cell.prerequisite()
    return fit.fit_id == cell.fit_id or (needed is not None and method == needed.method.spec.name)


def fit_of_result(record: CellRecord, scores: Sequence[ScoreRecord]) -> SavedFit | None:
    """Return the fit of a result that is not in the store yet; None if other cells cannot use it."""
    if record.status != "finished" or record.fit_id is None or record.artifact is None:
        return None
    evidence = tuple(score for score in scores if score.metric in _EVIDENCE)
    return SavedFit(record.cell_id, record.fit_id, record.artifact, record.fit_seconds, evidence)


def _prerequisite_ids(cell: Cell, store: Store) -> list[str]:
    """Return the identities of the fits that can serve as the prerequisite of a cell's fit."""
    needed = cell.prerequisite()
    if needed is None:
        return []
    seeds = [cell.init_seed]
    if not needed.method.spec_with(needed.config).uses_seed:
        # Such a method is run with the first init seed only, and its fit is the same for all.
        name = needed.method.spec.name
        seeds += store.query("SELECT DISTINCT init_seed FROM cells WHERE method = ?", [name])["init_seed"].tolist()
    siblings = [cell.prerequisite(int(seed)) for seed in dict.fromkeys(seeds)]
    return [sibling.fit_id for sibling in siblings if sibling is not None]


# A fit that changes the number of threads must not change it for the measurements that follow.
@numerics.threads()
@traced("fit")
def fit_cell(
    cell: Cell,
    tokens: TokenSet,
    saved: Sequence[SavedFit],
    folder: Path,
    *,
    device: Device,
    progress: Progress,
    work_dir: Path,
    divided: DividedFit | None = None,
    on_metrics: OnMetrics = no_metrics,
) -> Fit:
    """Load the fit of a cell if a finished cell has the same one; fit the method otherwise.

    Args:
        saved: result of :func:`saved_fits`; empty to fit in any case.
        folder: folder of the store.
        work_dir: folder in which the fit may keep files to resume from after it was killed.
        divided: the parts of the fit, if they were computed before and are in ``work_dir``.
        on_metrics: receives the metrics of the method's training; a fit that is loaded has none.
    """
    # A token set with missing images does not match the fit identity.
    complete = not tokens.meta.get("skipped")
    if complete and (loaded := _load(cell, saved, folder, device)) is not None:
        return loaded
    method = cell.method(cell.config)
    method.work_dir = work_dir
    method.on_metrics = on_metrics
    prerequisite = _load_prerequisite(cell, saved, folder, device) if complete else None
    if prerequisite is not None:
        method.prerequisite_fit = prerequisite.method
    resumed = divided.seconds is None if divided is not None else work_dir.is_dir() and any(work_dir.iterdir())
    given, seed = granted(tokens, cell.prepared.site, cell.offer, cell.offers, cell.spec.name), cell.init_seed
    cell.require_same_files()
    changes: list[str] = []
    with observing(given.tokens) as observation, restored(changes), failing_threads(f"{method.spec.name}.fit"):

        def fit() -> None:
            require_fit(method, method.fit(observation.tokens, given.site, seed=seed, device=device, progress=progress))

        cost = cost_of(fit, device)
    method.prerequisite_fit = None
    method.on_metrics = no_metrics
    cell.require_same_files()
    evidence = observation.evidence()
    records = evidence.records() if prerequisite is None else summed(evidence.records(), prerequisite.evidence)
    # The peak of this fit alone: a prerequisite that was loaded has its own.
    if (memory := cost.record(alone=evidence.alone)) is not None:
        records = (*records, memory)
    if divided is not None:
        records = joined(records, divided.evidence)
    fit_id = cell.fit_id if complete else None
    if cell.spec.fitted_elsewhere:
        # The time of loading would be the shortest fit of every board.
        return Fit(method, None, fit_id, None, (), tuple(f"fit changed {what}; it was restored." for what in changes))
    before = 0.0 if divided is None else divided.seconds or 0.0
    seconds = None if resumed else before + cost.seconds
    origin = [*((RESUMED,) if resumed else ()), *(() if divided is None else (divided.note(),))]
    notes = (*origin, *(f"fit changed {what}; it was restored." for what in changes))
    if prerequisite is None:
        return Fit(method, seconds, fit_id, None, records, notes)
    total = None if seconds is None or prerequisite.seconds is None else seconds + prerequisite.seconds
    return Fit(method, total, fit_id, None, records, (*notes, *prerequisite.notes))


@traced("writing of the fit")
def keep(fit: Fit, cell: Cell, folder: Path, tokens: TokenSet, device: Device) -> str:
    """Write a new fit to ``artifacts/`` in ``folder`` and return its file name, relative to ``folder``.

    A loaded fit is not written again.

    Raises:
        UserError: if a plugin's ``save`` wrote something else, or what it wrote gives other codes for ``tokens``.
    """
    if fit.artifact is not None:
        return fit.artifact
    file = Path(ARTIFACTS) / f"{fit.fit_id or cell.cell_id}.safetensors"
    (folder / ARTIFACTS).mkdir(parents=True, exist_ok=True)
    fit.method.save(folder / file)
    rows = tokens.gather(fit.method.spec.reads, np.arange(min(tokens.n, SAVED_ROWS)))
    require_saved(fit.method, folder / file, rows.to(device), device)
    return str(file)


def _load(cell: Cell, saved: Sequence[SavedFit], folder: Path, device: Device) -> Fit | None:
    """Return the first saved fit with a readable file and the cell's configuration, or None."""
    for fit in saved:
        if fit.fit_id == cell.fit_id and (method := _read(cell, fit, folder, device)) is not None:
            note = f"Fitted by the cell {fit.cell_id} and loaded from {fit.artifact}; fit_seconds is of that fit."
            evidence = tuple(record for record in fit.evidence if not _is_of_another_device(record, device))
            return Fit(method, fit.seconds, cell.fit_id, fit.artifact, evidence, (note,))
    return None


def _load_prerequisite(cell: Cell, saved: Sequence[SavedFit], folder: Path, device: Device) -> Fit | None:
    """Return the first saved fit of the method that the cell's fit needs, or None."""
    needed = cell.prerequisite()
    if needed is None:
        return None
    for fit in saved:
        if fit.fit_id != cell.fit_id and (method := _read(needed, fit, folder, device)) is not None:
            name = needed.method.spec.name
            note = (
                f"The fit of {name} is that of the cell {fit.cell_id}, loaded from {fit.artifact}; fit_seconds "
                "includes it."
            )
            return Fit(method, fit.seconds, fit.fit_id, fit.artifact, fit.evidence, (note,))
    return None


def _read(cell: Cell, fit: SavedFit, folder: Path, device: Device) -> Method | None:
    """Return a saved fit; None if its file is damaged or has another configuration than the cell."""
    try:
        require_regular_files(folder / fit.artifact)
        method = cell.method.load(folder / fit.artifact, device=device)
    except BaseException as error:
        if is_interrupt(error):
            raise_interrupt(error)
        # A new fit replaces a damaged file, whatever the damage.
        return None
    return method if same_settings(method.config, cell.config) else None


def _evidence_of(store: Store, cell_id: str) -> tuple[ScoreRecord, ...]:
    rows = store.scores(cell_id=cell_id).to_dict("records")
    fields = ("metric", "value", "unit", "direction", "details")
    return tuple(
        ScoreRecord(**{field: row[field] for field in fields}, version=int(row["version"]), n=int(row["n"]))
        for row in rows
        if row["metric"] in _EVIDENCE
    )


def _is_of_another_device(record: ScoreRecord, device: Device) -> bool:
    """Return True if the record is the memory of a fit on a device other than the cell's, which would be misread."""
    details = record.details or {}
    return record.metric == FIT_MEMORY and details.get("device") != devices.device_name(str(device))
