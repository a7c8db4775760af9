"""TensorBoard: one folder of event files per cell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.training_logs.base import TRAINING_LOGS, LoggedRun, TrainingLog, prefixed


@TRAINING_LOGS.register()
class TensorBoard(TrainingLog):
    """Scalars ``training/...`` per step, and ``scores/...`` at the last step, with the settings as hyperparameters."""

    name = "tensorboard"
    description = "event files in logs/tensorboard beside the store (the extra `log-tensorboard`)"
    package = "tensorboard"
    extra = "log-tensorboard"

    @classmethod
    def location(cls, folder: Path) -> str:
        return f"Training logs: tensorboard --logdir {folder}"

    def open(self, run: LoggedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.config = run.config
        self.last_step = 0
        self.writer = SummaryWriter(log_dir=str(run.folder / run.file_name))
        self.writer.add_text("config", f"```\n{json.dumps(dict(run.config), indent=2)}\n```")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for tag, value in prefixed("training", values).items():
            self.writer.add_scalar(tag, value, step)
        self.last_step = max(self.last_step, step)
        # A page that is open shows the point at once.
        self.writer.flush()

    def summarise(self, scores: Mapping[str, float]) -> None:
        self.writer.add_hparams(
            _flat(self.config), prefixed("scores", scores), run_name=".", global_step=self.last_step
        )

    def close(self, *, failed: bool) -> None:
        self.writer.close()


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Return the settings as ``OUTER.INNER`` -> number or text, the only values that hyperparameters may have."""
    flat: dict[str, bool | int | float | str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, bool | int | float | str) else json.dumps(value)
    return flat
