"""The cell that is pushed or exported: looked up in a store, and compared with its file of weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.cells.stored_cell import finished_cell, fit_file, part_of
from results.boards.board import Board, Row
from results.comparison.leaderboard import leaderboard
from results.store import Store
from results.store.records import records_of


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
        return part_of(self.cell["identity"], "method").get("version")


def cell_of(store: Store, name: str) -> PushedCell:
    """Return the finished cell with this id, its first digits, or the name of a row that has one finished cell.

    Raises:
        UserError: if no cell or several have the name, if the cell failed or has no file of weights, or if its record
            contradicts its id or the file.
    """
    cell = finished_cell(store, name)
    cell_id = str(cell["cell_id"])
    weights = fit_file(store, cell)
    scores = [
        score
        for score in records_of(store.scores(cell_id=cell_id))
        if not str(score["metric"]).startswith("evidence_") and score["value"] is not None
    ]
    return PushedCell(cell, scores, _board(store, cell), weights)


def _board(store: Store, cell: Mapping[str, Any]) -> Board | None:
    """Return the board of a cell; that of a sweep's cell is the one of its suite."""
    backbone, site = str(cell["backbone"]), str(cell["site"])
    for suite in (None, cell["suite"]):
        for board in leaderboard(store, suite=suite, backbone=backbone, site=site):
            if any(cell["cell_id"] in row.cell_ids for row in board.rows):
                return board
    return None
