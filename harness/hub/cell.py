"""The cell that is pushed or exported: looked up in a store, and compared with its file of weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import UserError
from harness.identity import digest
from methods.base import read_header
from methods.file_settings import PREFIX
from results.boards.board import Board, Row
from results.comparison.leaderboard import leaderboard
from results.errors import StoreError
from results.store import Store
from results.store.artifacts import artifact_file
from results.store.find_cell import find_cell
from results.store.records import records_of
from results.visible_text import one_line

#: Most characters of a cell's identity as JSON.
LARGEST_IDENTITY = 1_000_000


class PushedCell(NamedTuple):
    """Finished cell with its scores, the row of its board, and the file of its fit."""

    cell: Mapping[str, Any]
    """row of ``Store.cells()``"""
    scores: Sequence[Mapping[str, Any]]
    """rows of ``Store.scores()``, without evidence of claims"""
    board: Board | None
    """board of the cell; None if it is on none"""
    weights: Path

    @property
    def row(self) -> Row | None:
        """Row of the board: the mean over seeds, and the flags."""
        rows = self.board.rows if self.board else ()
        return next((row for row in rows if self.cell["cell_id"] in row.cell_ids), None)

    def text(self, name: str) -> str:
        """Return a column of the cell as text; empty if it was not recorded."""
        return str(self.cell[name] or "")

    @property
    def method_version(self) -> Any:
        return _part(self.cell["identity"], "method").get("version")


def cell_of(store: Store, name: str) -> PushedCell:
    """Return the finished cell with this id, its first digits, or the name of a row that has one finished cell.

    Raises:
        UserError: if no cell or several have the name, if the cell failed or has no file of weights, or if its record
            contradicts its id or the file.
    """
    try:
        cell = find_cell(records_of(store.cells()), name)
    except StoreError as error:
        raise UserError(str(error)) from error
    cell_id = str(cell["cell_id"])
    if cell["status"] != "finished":
        raise UserError(f"The cell {cell_id} has failed: only finished cells have weights.")
    _require_identity(cell)
    weights = _weights(store, cell)
    scores = [
        score
        for score in records_of(store.scores(cell_id=cell_id))
        if not str(score["metric"]).startswith("evidence_") and score["value"] is not None
    ]
    return PushedCell(cell, scores, _board(store, cell), weights)


def _require_identity(cell: Mapping[str, Any]) -> None:
    """Check that a cell's id is the hash of its identity, and that its columns agree with it."""
    identity = cell["identity"]
    if not isinstance(identity, dict):
        raise UserError(f"The cell {cell['cell_id']} has no recorded identity: run it again.")
    if len(json.dumps(identity)) > LARGEST_IDENTITY:
        raise UserError(f"The identity of the cell {cell['cell_id']} has more than {LARGEST_IDENTITY} characters.")
    method = _part(identity, "method")
    recorded = (method.get("name"), identity.get("backbone"), identity.get("site"), method.get("config"))
    if _digest(identity) != cell["cell_id"] or recorded != tuple(
        cell[name] for name in ("method", "backbone", "site", "config")
    ):
        raise UserError(
            f"The record of the cell {cell['cell_id']} contradicts its id, so the store was changed after it was "
            "written: run the cell again."
        )


def _digest(identity: dict[str, Any]) -> str:
    try:
        return digest(identity)
    except (ValueError, TypeError, RecursionError):  # NaN, or what no run writes
        return ""


def _weights(store: Store, cell: Mapping[str, Any]) -> Path:
    """Return the file of a cell's fit, of the method and settings that its record names."""
    cell_id, name = cell["cell_id"], cell["artifact"]
    if not name:
        raise UserError(f"The cell {cell_id} has no saved fit: run it again with `harness run --rerun`.")
    file = artifact_file(store.path.parent, str(name))
    if file is None or not file.is_file():
        raise UserError(
            f"The saved fit of the cell {cell_id} is not beside the store ({one_line(name)}): copy the folder "
            "artifacts/ as well, or run the cell again."
        )
    header = read_header(file)
    if header["method"] != cell["method"] or not _same(header["config"], cell["config"]):
        raise UserError(
            f"The saved fit of the cell {cell_id} ({file.name}) has another method or other settings than the cell: "
            "run the cell again."
        )
    return file


def _same(saved: Any, recorded: Any) -> bool:
    """Return True if settings of a file are the recorded ones; a recorded ``content:HASH`` stands for any path."""
    if isinstance(recorded, str) and recorded.startswith(PREFIX):
        return isinstance(saved, str)
    if isinstance(saved, dict) and isinstance(recorded, dict):
        return saved.keys() == recorded.keys() and all(_same(saved[key], recorded[key]) for key in saved)
    if isinstance(saved, list) and isinstance(recorded, list):
        return len(saved) == len(recorded) and all(map(_same, saved, recorded))
    return bool(saved == recorded)


def _board(store: Store, cell: Mapping[str, Any]) -> Board | None:
    """Return the board of a cell; that of a sweep's cell is the one of its suite."""
    backbone, site = str(cell["backbone"]), str(cell["site"])
    for suite in (None, cell["suite"]):
        for board in leaderboard(store, suite=suite, backbone=backbone, site=site):
            if any(cell["cell_id"] in row.cell_ids for row in board.rows):
                return board
    return None


def _part(identity: Any, name: str) -> dict[str, Any]:
    part = identity.get(name) if isinstance(identity, dict) else None
    return part if isinstance(part, dict) else {}
