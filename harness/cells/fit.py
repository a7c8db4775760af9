"""Fit of a cell: made once, observed, saved, and reused by every cell that differs in its evaluation only.

A fitted method is saved as ``artifacts/<fit_id>.safetensors`` beside the store. ``cells.artifact`` holds the file name
for each cell, so files with other names (older ones are named by cell) stay valid.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.activations.token_set import TokenSet
from harness.cells.fit_evidence import GRADIENTS, LABELS, observing
from harness.cells.plan import Cell
from harness.metrics.base import Score
from methods import numerics
from methods.base import Device, Method, Progress
from results import ScoreRecord, Store

ARTIFACTS = "artifacts"


class Fit(NamedTuple):
    """Fitted method with its time, identity, file and evidence."""

    method: Method
    seconds: float | None
    """fitting time; of the original fit if it was loaded"""
    fit_id: str | None
    """None if some of its images could not be read: no other cell may use it then"""
    artifact: str | None
    """file that already holds the fit, relative to the store's folder; None: :func:`keep` writes it"""
    evidence: tuple[ScoreRecord, ...]
    """evidence observed during the fit (:mod:`harness.cells.fit_evidence`)"""
    notes: tuple[str, ...] = ()


class KnownFit(NamedTuple):
    """Fit of a finished cell, which another cell with the same fit identity can load."""

    cell_id: str
    artifact: str
    """relative to the store's folder"""
    seconds: float | None
    evidence: tuple[ScoreRecord, ...]


def known_fits(cell: Cell, store: Store) -> tuple[KnownFit, ...]:
    """Return the fits of finished cells with the same fit identity, oldest first."""
    rows = store.query(
        "SELECT cell_id, artifact, fit_seconds FROM cells "
        "WHERE fit_id = ? AND status = 'finished' AND artifact IS NOT NULL ORDER BY started_at, cell_id",
        [cell.fit_id],
    )
    return tuple(
        KnownFit(row["cell_id"], row["artifact"], row["fit_seconds"], _evidence_of(store, row["cell_id"]))
        for row in rows.to_dict("records")
    )


# A fit that changes the number of threads must not change it for the measurements that follow.
@numerics.threads()
def fit_cell(
    cell: Cell,
    tokens: TokenSet,
    known: Sequence[KnownFit],
    folder: Path,
    *,
    device: Device,
    progress: Progress,
    work_dir: Path | None = None,
) -> Fit:
    """Load the fit of a cell if a finished cell has the same one; fit the method otherwise.

    Args:
        known: result of :func:`known_fits`; empty to fit in any case.
        folder: folder of the store.
        work_dir: folder in which the fit may keep files to resume from after it was killed.
    """
    # A token set with missing images does not match the fit identity.
    whole = not tokens.meta.get("skipped")
    found = _loaded(cell, known, folder, device) if whole else None
    if found is not None:
        return found
    method = cell.method(cell.config)
    method.work_dir = work_dir
    clock = time.perf_counter()
    with observing(tokens) as watched:
        method.fit(watched.tokens, cell.prepared.site, seed=cell.init_seed, device=device, progress=progress)
    seconds = time.perf_counter() - clock
    evidence = tuple(_record(score) for score in watched.evidence().scores())
    return Fit(method, seconds, cell.fit_id if whole else None, None, evidence)


def keep(fit: Fit, cell: Cell, folder: Path) -> str:
    """Write a new fit to ``artifacts/`` in ``folder`` and return its file name, relative to ``folder``.

    A loaded fit is not written again.
    """
    if fit.artifact is not None:
        return fit.artifact
    path = fit.method.save(folder / ARTIFACTS / f"{fit.fit_id or cell.cell_id}.safetensors")
    return str(path.relative_to(folder))


def _loaded(cell: Cell, known: Sequence[KnownFit], folder: Path, device: Device) -> Fit | None:
    """Return the first known fit with a readable file and the cell's configuration, or None."""
    for fit in known:
        try:
            method = cell.method.load(folder / fit.artifact, device=device)
            if method.config != cell.config:
                continue
        except Exception:
            # A new fit replaces a damaged file, whatever the damage.
            continue
        note = f"Fitted by the cell {fit.cell_id} and loaded from {fit.artifact}; fit_seconds is of that fit."
        return Fit(method, fit.seconds, cell.fit_id, fit.artifact, fit.evidence, (note,))
    return None


def _evidence_of(store: Store, cell_id: str) -> tuple[ScoreRecord, ...]:
    frame = store.scores(cell_id=cell_id)
    return tuple(_record_of_row(row) for row in frame.to_dict("records") if row["metric"] in (GRADIENTS, LABELS))


def _record_of_row(row: Mapping[Any, Any]) -> ScoreRecord:
    return ScoreRecord(
        metric=row["metric"],
        value=row["value"],
        version=int(row["version"]),
        n=int(row["n"]),
        unit=row["unit"],
        direction=row["direction"],
        details=row["details"],
    )


def _record(score: Score) -> ScoreRecord:
    return ScoreRecord(
        metric=score.metric,
        value=score.value,
        n=score.n,
        unit=score.unit,
        direction=score.direction,
        details=score.details,
    )
