"""Training logs: where the metrics of a fit are written while it runs (``harness run --log NAME``)."""

from harness.training_logs.base import PROJECT, TRAINING_LOGS, LoggedRun, TrainingLog, log_dir, require

__all__ = ["PROJECT", "TRAINING_LOGS", "LoggedRun", "TrainingLog", "log_dir", "require"]
