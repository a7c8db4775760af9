"""Training log of a cell: its name, its settings, and its scores at the end."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.cells.plan import Cell
from harness.training_logs.base import LoggedRun, log_dir
from harness.training_logs.guard import GuardedLog
from methods.plugin_errors import clean_text
from results import ScoreRecord

#: Most characters of the name of a run; the longest that Weights & Biases takes is 128.
_LONGEST_NAME = 120


def open_log(logger: str | None, cell: Cell, folder: Path, run_id: str, suite: str) -> GuardedLog | None:
    """Return the open log of a cell; None without a logger.

    Args:
        logger: name of the logger (:data:`harness.training_logs.TRAINING_LOGS`).
        folder: folder of the store.
        run_id: run that computes the cell.
        suite: name of the suite.
    """
    if logger is None:
        return None
    run = LoggedRun(
        _name_of(cell),
        # A cell may be computed again, by a later run or after its worker died; the part that differs is no random
        # draw of a seeded generator.
        f"{cell.cell_id}-{uuid.uuid4().hex[:8]}",
        _config_of(cell, run_id, suite),
        log_dir(folder, logger),
    )
    log = GuardedLog(logger, run, harness_run=run_id)
    log.open()
    return log


def score_values(records: Iterable[ScoreRecord]) -> dict[str, float]:
    """Return name -> value; scores of one metric are told apart by their parameters."""
    values: dict[str, float] = {}
    for record in records:
        parameters = ", ".join(f"{key}={value}" for key, value in record.params.items())
        name = f"{record.metric} ({parameters})" if record.metric in values and parameters else record.metric
        if record.value is not None:
            values[name] = float(record.value)
    return values


def _name_of(cell: Cell) -> str:
    end = f", {cell.prepared.site.path}, token seed {cell.plan.seed}, init seed {cell.init_seed}"
    label = " ".join(clean_text(cell.label).split())
    return f"{label[: max(1, _LONGEST_NAME - len(end))]}{end}"[:_LONGEST_NAME]


def _config_of(cell: Cell, run_id: str, suite: str) -> dict[str, Any]:
    return {
        "method": cell.spec.name,
        "label": cell.label,
        "settings": cell.method_identity["config"],
        "backbone": cell.prepared.backbone.name,
        "site": cell.prepared.site.path,
        "dataset": cell.prepared.dataset,
        "token_seed": cell.plan.seed,
        "init_seed": cell.init_seed,
        "cell_id": cell.cell_id,
        "run_id": run_id,
        "suite": suite,
    }
