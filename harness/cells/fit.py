"""Fit of a cell: made once, observed, saved, and reused by every cell that differs in its evaluation only.

A fitted method is saved as ``artifacts/<fit_id>.safetensors`` beside the store. ``cells.artifact`` holds the file name
for each cell, so files with other names (older ones are named by cell) stay valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness import devices
from harness.activations.token_set import TokenSet
from harness.cells.fit_cost import FIT_MEMORY, cost_of
from harness.cells.fit_evidence import GRADIENTS, LABELS, observing
from harness.cells.plan import Cell
from methods import numerics
from methods.base import Device, Method, Progress
from results import ScoreRecord, Store
from results.store.records import records_of

ARTIFACTS = "artifacts"

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
    artifact: str
    """relative to the store's folder"""
    seconds: float | None
    evidence: tuple[ScoreRecord, ...]


def saved_fits(cell: Cell, store: Store) -> tuple[SavedFit, ...]:
    """Return the fits of finished cells with the same fit identity, oldest first."""
    rows = store.query(
        "SELECT cell_id, artifact, fit_seconds FROM cells "
        "WHERE fit_id = ? AND status = 'finished' AND artifact IS NOT NULL ORDER BY started_at, cell_id",
        [cell.fit_id],
    )
    return tuple(
        SavedFit(row["cell_id"], row["artifact"], row["fit_seconds"], _evidence_of(store, row["cell_id"]))
        for row in records_of(rows)
    )


# A fit that changes the number of threads must not change it for the measurements that follow.
@numerics.threads()
def fit_cell(
    cell: Cell,
    tokens: TokenSet,
    saved: Sequence[SavedFit],
    folder: Path,
    *,
    device: Device,
    progress: Progress,
    work_dir: Path,
) -> Fit:
    """Load the fit of a cell if a finished cell has the same one; fit the method otherwise.

    Args:
        saved: result of :func:`saved_fits`; empty to fit in any case.
        folder: folder of the store.
        work_dir: folder in which the fit may keep files to resume from after it was killed.
    """
    # A token set with missing images does not match the fit identity.
    complete = not tokens.meta.get("skipped")
    if complete and (loaded := _load(cell, saved, folder, device)) is not None:
        return loaded
    method = cell.method(cell.config)
    method.work_dir = work_dir
    resumed = work_dir.is_dir() and any(work_dir.iterdir())
    site, seed = cell.prepared.site, cell.init_seed
    with observing(tokens) as observation:
        cost = cost_of(
            lambda: method.fit(observation.tokens, site, seed=seed, device=device, progress=progress), device
        )
    evidence = observation.evidence()
    memory = cost.record(alone=evidence.alone)
    records = (*evidence.records(), memory) if memory is not None else evidence.records()
    fit_id = cell.fit_id if complete else None
    if resumed:
        return Fit(method, None, fit_id, None, records, (RESUMED,))
    return Fit(method, cost.seconds, fit_id, None, records)


def keep(fit: Fit, cell: Cell, folder: Path) -> str:
    """Write a new fit to ``artifacts/`` in ``folder`` and return its file name, relative to ``folder``.

    A loaded fit is not written again.
    """
    if fit.artifact is not None:
        return fit.artifact
    path = fit.method.save(folder / ARTIFACTS / f"{fit.fit_id or cell.cell_id}.safetensors")
    return str(path.relative_to(folder))


def _load(cell: Cell, saved: Sequence[SavedFit], folder: Path, device: Device) -> Fit | None:
    """Return the first saved fit with a readable file and the cell's configuration, or None."""
    for fit in saved:
        try:
            method = cell.method.load(folder / fit.artifact, device=device)
        except Exception:
            # A new fit replaces a damaged file, whatever the damage.
            continue
        if method.config == cell.config:
            note = f"Fitted by the cell {fit.cell_id} and loaded from {fit.artifact}; fit_seconds is of that fit."
            evidence = tuple(record for record in fit.evidence if not _is_of_another_device(record, device))
            return Fit(method, fit.seconds, cell.fit_id, fit.artifact, evidence, (note,))
    return None


def _evidence_of(store: Store, cell_id: str) -> tuple[ScoreRecord, ...]:
    rows = store.scores(cell_id=cell_id).to_dict("records")
    fields = ("metric", "value", "unit", "direction", "details")
    return tuple(
        ScoreRecord(**{field: row[field] for field in fields}, version=int(row["version"]), n=int(row["n"]))
        for row in rows
        if row["metric"] in (GRADIENTS, LABELS, FIT_MEMORY)
    )


def _is_of_another_device(record: ScoreRecord, device: Device) -> bool:
    """Return True if the record is the memory of a fit on a device other than the cell's, which would be misread."""
    details = record.details or {}
    return record.metric == FIT_MEMORY and details.get("device") != devices.device_name(str(device))
