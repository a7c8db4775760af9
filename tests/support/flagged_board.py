"""Boards in memory, and one with a row for each flag, a lossless and a virtual method, and controls."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import pandas as pd

from results import CellRecord, ScoreRecord
from results.boards.board import Board
from results.boards.build import boards_of

SEEDS = (1, 2, 3)
UNITS = "units, clustered by parent"


def fraction(metric: str, value: float, error: float | None = None, **changes: Any) -> ScoreRecord:
    return ScoreRecord(metric=metric, value=value, uncertainty=error, unit="fraction", **changes)


class Cells:
    """Cells of one board, without a store: a row at a time, each of its cells in a fraction of a millisecond."""

    def __init__(self) -> None:
        self.cells: dict[str, CellRecord] = {}
        self.scores: dict[str, list[ScoreRecord]] = {}

    def board(self) -> Board:
        """Return the board of all cells."""
        cells = [dataclasses.asdict(cell) for cell in self.cells.values()]
        scores = [
            {**dataclasses.asdict(score), "cell_id": cell_id}
            for cell_id, scores in self.scores.items()
            for score in scores
        ]
        (board,) = boards_of(pd.DataFrame(cells, dtype=object), pd.DataFrame(scores, dtype=object))
        return board

    def record(
        self,
        label: str,
        ms: Sequence[float],
        *,
        method: str = "",
        claims: dict[str, Any] | None = None,
        factor: float = 2.0,
        error: float | None = 0.01,
        accuracy: float | None = 0.8,
        agreement: float | None = 0.9,
        r2: float | None = 0.7,
        overlap: float = 0.4,
        cosine: float = 0.5,
        extra: Sequence[ScoreRecord] = (),
    ) -> None:
        """Record one row: one cell for each of its MS scores, which replaces that of the same seed."""
        for seed, value in zip(SEEDS, ms, strict=False):
            nearest = {"value": cosine, "direction": "lower", "params": {"direction": "reader"}}
            scores = [
                fraction("ms_score", value, error, uncertainty_kind=UNITS, n=100 + seed),
                ScoreRecord(metric="expansion_factor", value=factor, direction="none"),
                fraction("unit_overlap", overlap, direction="lower"),
                ScoreRecord(metric="nearest_cosine_mean", **nearest),
                *(fraction(f"floor_mean_{name}", 0.5, direction="none") for name in ("accuracy", "agreement")),
                *extra,
            ]
            for metric, measured in (("accuracy", accuracy), ("agreement", agreement), ("r2", r2)):
                if measured is not None:
                    scores.append(fraction(metric, measured, 0.04, uncertainty_kind="images", n=100))
            cell_id = f"{label}-{seed}"
            self.scores[cell_id] = scores
            self.cells[cell_id] = CellRecord(
                cell_id=cell_id,
                status="finished",
                backbone="vit",
                site="fc",
                dataset="photos",
                method=method or label,
                label=label,
                config_id=label,
                token_seed=seed,
                init_seed=0,
                claims={"family": "method", "control_for": [], **(claims or {})},
            )

    def fail(self, label: str) -> None:
        """Record a row of one failed cell."""
        self.cells[label] = CellRecord(
            cell_id=label, status="failed", backbone="vit", site="fc", dataset="photos", method=label, label=label
        )


@functools.cache
def flagged_board() -> Board:
    """Return the board of `flagged_cells`."""
    return flagged_cells().board()


def flagged_cells() -> Cells:
    """Return rows without a flag, one of each flag, a lossless and a virtual one, and two controls."""
    cells = Cells()
    cells.record("good", [0.60, 0.61, 0.62])
    cells.record("fair", [0.55, 0.56, 0.57], r2=0.6)
    cells.record("third", [0.54, 0.55, 0.56], r2=0.5)
    cells.record("copies", [0.90, 0.91, 0.92], overlap=0.99, cosine=0.999, r2=0.98)
    cells.record("broken net", [0.80, 0.81, 0.82], accuracy=0.5, r2=0.97)
    cells.record("guesses", [0.50, 0.51, 0.52], claims={"family": "sae"}, r2=0.96, factor=4.1)
    cells.record("single", [0.85], r2=0.99)
    cells.record("exact", [0.58, 0.58, 0.59], claims={"lossless": True}, r2=1.0, agreement=1.0)
    cells.record("ghost", [0.95, 0.96, 0.97], claims={"virtual": True}, accuracy=None, agreement=None, r2=None)
    cells.record("random atoms", [0.505, 0.51, 0.515], claims={"family": "control", "control_for": ["sae"]}, factor=4.0)
    cells.record("backbone only", [0.52, 0.52, 0.52], method="identity", claims={"family": "control"})
    return cells
