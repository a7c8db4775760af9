"""Who computes the cells of a run."""

from harness.executors.base import EXECUTORS, Executor, create

__all__ = ["EXECUTORS", "Executor", "create"]
