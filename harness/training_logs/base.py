"""Interface of training logs, which receive the metrics of one cell while its method is trained.

Each file of this package is one logger. A cell has one log, opened before its fit. A log that raises is switched off
(:mod:`harness.training_logs.guard`); it never changes a result.
"""

from __future__ import annotations

import importlib.util
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from harness.errors import UserError
from methods.plugin_calls import calling
from methods.registry import Registry

#: Project under which all runs are logged.
PROJECT = "disentanglement-harness"

#: Most characters of a name, in a file name as in a title.
_LONGEST_NAME = 100


class LoggedRun(NamedTuple):
    """Cell whose fit is logged."""

    name: str
    """label, layer and seeds; one line of printable characters"""
    id: str
    """unique, also if a cell is computed again; letters, digits and ``-``"""
    config: Mapping[str, Any]
    """settings of the method, seeds, backbone, layer, image set and cell id, as JSON-able values"""
    folder: Path
    """``logs/NAME`` beside the store, for the files of this logger"""

    @property
    def file_name(self) -> str:
        """Name and id as one part of a path: letters, digits, ``.``, ``_`` and ``-``."""
        words = re.sub(r"[^A-Za-z0-9._]+", "-", self.name).strip("-.")
        return f"{words[:_LONGEST_NAME]}-{self.id}"


class TrainingLog(ABC):
    """Base class of training logs; one object per cell."""

    name: ClassVar[str]
    description: ClassVar[str]
    package: ClassVar[str] = ""
    """package that the logger imports; empty: none"""
    extra: ClassVar[str] = ""
    """extra of this project that installs it"""

    @classmethod
    def location(cls, folder: Path) -> str:
        """Return a sentence that tells where the logs are, and how to look at them.

        Args:
            folder: ``logs/NAME`` beside the store.
        """
        return f"Training logs ({cls.name}): {folder}."

    @abstractmethod
    def open(self, run: LoggedRun) -> None:
        """Start the log of a cell, before its fit."""

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write metrics of one optimiser step: ``loss``, ``training_r2``, ``l0``, ``dead`` and others.

        Values may be NaN or infinite. No pair of a step and a name is passed twice; steps need not increase.
        """

    def summarise(self, scores: Mapping[str, float]) -> None:  # noqa: B027 - a log may keep the curves only
        """Write the scores of the finished cell."""

    @abstractmethod
    def close(self, *, failed: bool) -> None:
        """End the log.

        Args:
            failed: True if the cell has no result: its method raised, or the user interrupted the run.
        """


def _problem(target: Any) -> str | None:
    valid = isinstance(target, type) and issubclass(target, TrainingLog)
    return None if valid else "it is not a subclass of TrainingLog"


TRAINING_LOGS: Registry[type[TrainingLog]] = Registry(
    "training log", group="harness.training_logs", package="harness.training_logs", check=_problem
)


def require(name: str) -> type[TrainingLog]:
    """Return a logger by name; its package is looked up, not imported.

    Raises:
        UserError: for an unknown name, or if the package is not installed.
    """
    with calling(TRAINING_LOGS, name):
        logger = TRAINING_LOGS.get(name)
    # A folder of that name in the current directory, as wandb creates, is found as a package without an origin.
    spec = importlib.util.find_spec(logger.package) if logger.package else None
    if logger.package and (spec is None or spec.origin is None):
        wanted = f"disentanglement-harness[{logger.extra}]" if logger.extra else logger.package
        raise UserError(
            f"--log {name} needs the package {logger.package}, which is not installed: pip install '{wanted}'."
        )
    return logger


def log_dir(store_folder: Path, name: str) -> Path:
    """Return the folder of a logger's files."""
    return store_folder / "logs" / name


def prefixed(group: str, values: Mapping[str, float]) -> dict[str, float]:
    """Return the values with ``GROUP/`` before their names: no name is then one that a logger reserves."""
    return {f"{group}/{name}": value for name, value in values.items()}
