"""Executors: where the cells of a run are computed."""

from harness.executors.base import EXECUTORS, Executor, create

__all__ = ["EXECUTORS", "Executor", "create"]
