"""Time of the fits as a column of a board.

The time is a column of `cells`, so stores of any age have it. A cell that loaded a fit holds the time of the original
fit; that fit's device and threads are those of the cell that made it. Times of other devices or numbers of threads are
never ranked together.

Needs only the standard library.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from results.boards.board import AttachedScores
from results.store.records import grouped

FIT_SECONDS = "fit_seconds"
#: Evidence of a fit, which says if another one ran in the same process at the same time.
_EVIDENCE = "evidence_gradients"


def attach_fit_seconds(cells: Sequence[Mapping[str, Any]], scores: Sequence[Mapping[str, Any]]) -> AttachedScores:
    """Return the time of each finished cell's fit as a score, and a note for each time that is left out.

    A time is left out if another fit ran in the same process at the same time, or if the fit was made on another device
    than the cell's.

    Args:
        cells: rows of `Store.cells()`, oldest first.
        scores: rows of `Store.scores()`.
    """
    shared = {
        score["cell_id"]
        for score in scores
        if score["metric"] == _EVIDENCE and (score.get("details") or {}).get("alone") is False
    }
    timed = [cell for cell in cells if cell["status"] == "finished" and _is_time(cell.get(FIT_SECONDS))]
    # A time in floating point is equal in the cells that loaded one fit, and in no other.
    makers = {key: group[0] for key, group in grouped(timed, _fit_of).items()}
    attached, notes = [], {}
    for cell in timed:
        maker = makers[_fit_of(cell)]
        if cell["cell_id"] in shared:
            reason = "another fit ran in the same process at the same time"
        elif maker.get("device") != cell.get("device"):
            reason = f"the fit was made on another device ({maker.get('device')})"
        else:
            attached.append(_score(cell, maker))
            continue
        notes[cell["cell_id"]] = [f"{FIT_SECONDS} of {cell['label']} is left out: {reason}."]
    return AttachedScores(attached, notes)


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _fit_of(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    return cell.get("fit_id") or cell["cell_id"], cell[FIT_SECONDS]


def _score(cell: Mapping[str, Any], maker: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "cell_id": cell["cell_id"],
        "metric": FIT_SECONDS,
        "version": 1,
        "params": _conditions(maker),
        "value": float(cell[FIT_SECONDS]),
        "n": 1,
        "unit": "s",
        "direction": "lower",
        **dict.fromkeys(("uncertainty", "uncertainty_kind", "evaluation_fingerprint", "panel", "details")),
    }


def _conditions(maker: Mapping[str, Any]) -> dict[str, Any]:
    """Return the number of threads of a fit on a CPU, if it is known; on a GPU it hardly matters."""
    threads = (maker.get("environment") or {}).get("threads")
    on_cpu = str(maker.get("device") or "").startswith("cpu")
    return {"threads": threads} if on_cpu and threads is not None else {}
