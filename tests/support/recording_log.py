"""Plugin with a training log that writes one file of JSON lines per cell, for tests."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import tiny_backbones  # noqa: F401 - workers need them, too

from harness.training_logs import TRAINING_LOGS, LoggedRun, TrainingLog


@TRAINING_LOGS.register()
class RecordingLog(TrainingLog):
    name = "recording"
    description = "JSON lines"

    def open(self, run: LoggedRun) -> None:
        run.folder.mkdir(parents=True, exist_ok=True)
        self.file = run.folder / f"{run.file_name}.jsonl"
        self._write({"open": {"name": run.name, "id": run.id, "process": os.getpid(), **run.config}})

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._write({"step": step, "values": dict(values)})

    def summarise(self, scores: Mapping[str, float]) -> None:
        self._write({"scores": dict(scores)})

    def close(self, *, failed: bool) -> None:
        self._write({"failed": failed})

    def _write(self, line: dict[str, Any]) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
