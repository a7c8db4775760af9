"""Trackio: one SQLite file per project, local unless trackio's own variables name a server."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from harness.training_logs.base import PROJECT, TRAINING_LOGS, LoggedRun, TrainingLog, prefixed


@TRAINING_LOGS.register()
class Trackio(TrainingLog):
    """Metrics ``training/...`` per step, and ``scores/...`` at the last step.

    The variables of trackio (``TRACKIO_DIR``, ``TRACKIO_SPACE_ID``, ...) apply. Trackio reads its folder once, when it
    is imported: in one process all stores are logged to the folder of the first one.
    """

    name = "trackio"
    description = "SQLite files in logs/trackio beside the store (the extra `log-trackio`)"
    package = "trackio"
    extra = "log-trackio"

    @classmethod
    def location(cls, folder: Path) -> str:
        imported = sys.modules.get("trackio.utils")
        files = imported.TRACKIO_DIR if imported else os.environ.get("TRACKIO_DIR") or folder
        return f"Training logs: TRACKIO_DIR={files} trackio show --project {PROJECT}"

    def open(self, run: LoggedRun) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(run.folder))
        import trackio

        self.last_step = 0
        self.run = trackio.init(
            project=PROJECT,
            name=f"{run.name} ({run.id[-8:]})",
            config=dict(run.config),
            auto_log_gpu=False,
            auto_log_cpu=False,
            embed=False,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(prefixed("training", values), step=step)
        self.last_step = max(self.last_step, step)

    def summarise(self, scores: Mapping[str, float]) -> None:
        self.run.log(prefixed("scores", scores), step=self.last_step)

    def close(self, *, failed: bool) -> None:
        import trackio

        # It also forgets the run, which trackio would end again, with a message, when the process ends.
        trackio.finish()
