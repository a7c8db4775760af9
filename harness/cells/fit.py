"""The fit of a cell: made once, observed, kept, and found again by every cell that differs in its evaluation only.

A fitted method is kept as ``artifacts/<fit_id>.safetensors`` beside the store. ``cells.artifact`` names the file of a
cell, so that files of other names (older ones are named by cell) stay what they are.
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
    """A fitted method and how it came about."""

    method: Method
    seconds: float | None
    """of fitting, where it was fitted"""
    fit_id: str | None
    """None: some of its images could not be read, so that no other cell may use it"""
    artifact: str | None
    """file that holds it already, relative to the store's folder; None: :func:`keep` writes it"""
    evidence: tuple[ScoreRecord, ...]
    """what was seen of the fit (:mod:`harness.cells.fit_evidence`)"""
    notes: tuple[str, ...] = ()


class KnownFit(NamedTuple):
    """A finished cell that has fitted the same as another one needs."""

    cell_id: str
    artifact: str
    """relative to the store's folder"""
    seconds: float | None
    evidence: tuple[ScoreRecord, ...]


def known_fits(cell: Cell, store: Store) -> tuple[KnownFit, ...]:
    """The finished cells of the same fit identity, oldest first."""
    rows = store.query(
        "SELECT cell_id, artifact, fit_seconds FROM cells "
        "WHERE fit_id = ? AND status = 'finished' AND artifact IS NOT NULL ORDER BY started_at, cell_id",
        [cell.fit_id],
    )
    return tuple(
        KnownFit(row["cell_id"], row["artifact"], row["fit_seconds"], _evidence_of(store, row["cell_id"]))
        for row in rows.to_dict("records")
    )


# A fit that changes the number of threads does not change it for what is measured afterwards.
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
    """The fitted method of a cell: loaded where a finished cell has fitted the same, otherwise fitted.

    Args:
        known: what :func:`known_fits` found; empty to fit in any case.
        folder: where the store lies.
        work_dir: where the fit may keep what lets it go on after it was killed.
    """
    # A set that lacks images is not what the identity says.
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
    """Write a fit that was just made beside the store; its file's name, relative to ``folder``."""
    if fit.artifact is not None:
        return fit.artifact
    path = fit.method.save(folder / ARTIFACTS / f"{fit.fit_id or cell.cell_id}.safetensors")
    return str(path.relative_to(folder))


def _loaded(cell: Cell, known: Sequence[KnownFit], folder: Path, device: Device) -> Fit | None:
    """The first of the known fits whose file can be read."""
    for fit in known:
        try:
            method = cell.method.load(folder / fit.artifact, device=device)
            if method.config != cell.config:
                continue
        except Exception:
            # Whatever is wrong with the file, a fit mends it.
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
