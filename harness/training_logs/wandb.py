"""Weights & Biases: online with credentials, otherwise offline files that can be uploaded later."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.training_logs.base import PROJECT, TRAINING_LOGS, LoggedRun, TrainingLog, prefixed

#: Seconds to wait for the server at the start and at the end of a run, unless wandb's own variables say otherwise.
_PATIENCE_S = {"init_timeout": 30.0, "finish_timeout": 60.0}


@TRAINING_LOGS.register()
class WeightsAndBiases(TrainingLog):
    """History ``training/...`` with the axis ``step``; ``scores/...`` in the summary.

    The variables of wandb (``WANDB_MODE``, ``WANDB_PROJECT``, ``WANDB_DIR``, ``WANDB_ENTITY``, ...) apply.
    """

    name = "wandb"
    description = "Weights & Biases, offline without credentials (the extra `log-wandb`)"
    package = "wandb"
    extra = "log-wandb"

    @classmethod
    def location(cls, folder: Path) -> str:
        files = Path(os.environ.get("WANDB_DIR") or folder.parent) / "wandb"
        return (
            f"Training logs: wandb, with its files in {files}; offline without credentials, and then "
            f"`wandb sync {files}/offline-run-*` uploads them."
        )

    def open(self, run: LoggedRun) -> None:
        import wandb

        # wandb appends its name to the folder. It would use a temporary folder instead of one that cannot be written.
        run.folder.mkdir(parents=True, exist_ok=True)
        waits = {name: value for name, value in _PATIENCE_S.items() if f"WANDB_{name.upper()}" not in os.environ}
        arguments: dict[str, Any] = {
            "project": os.environ.get("WANDB_PROJECT") or PROJECT,
            "dir": os.environ.get("WANDB_DIR") or run.folder.parent,
            "id": run.id,
            "name": run.name,
            "config": dict(run.config),
            # A run that the user has open, as in a notebook, is not touched.
            "reinit": "create_new",
            "settings": wandb.Settings(silent=True, console="off", **waits),
        }
        with _no_terminal():
            try:
                self.run = wandb.init(**arguments)
            except wandb.errors.UsageError:
                # Without credentials wandb asks for them on a terminal, and raises elsewhere.
                self.run = wandb.init(**arguments, mode="offline")
        self.run.define_metric("training/*", step_metric="step")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log({"step": step, **prefixed("training", values)})

    def summarise(self, scores: Mapping[str, float]) -> None:
        self.run.summary.update(prefixed("scores", scores))

    def close(self, *, failed: bool) -> None:
        self.run.finish(exit_code=1 if failed else 0)


@contextlib.contextmanager
def _no_terminal() -> Iterator[None]:
    """Let standard input be no terminal within the context, so that no question is asked."""
    before = sys.stdin
    with open(os.devnull, encoding="utf-8") as nothing:
        sys.stdin = nothing
        try:
            yield
        finally:
            sys.stdin = before
