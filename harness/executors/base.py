"""What an executor is: it computes the cells of a run, here or elsewhere, and hands each result over when it is there.

One file of this package is one executor. It writes no store: the recorder of the run does, in the process that was
started.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, TypeAlias

from harness.cells.fit import KnownFit
from harness.cells.plan import Cell, PreparedTarget
from harness.cells.run_cell import CellContext, CellResult
from harness.datasets.base import BrokenImage
from harness.errors import UserError
from harness.progress import Reporter
from harness.suites import Suite
from methods.registry import Registry


class TargetWork(NamedTuple):
    """The cells of one target that are not finished yet; at least one."""

    prepared: PreparedTarget
    cells: tuple[Cell, ...]


class Work(NamedTuple):
    """What a run has to do, and what an executor may ask of it meanwhile."""

    suite: Suite
    targets: tuple[TargetWork, ...]
    device: str
    """as the user said, ``auto`` included"""
    place: CellContext
    """with the device of this process"""
    cache: Path
    mark: Path
    """a file beside the store that holds the run's id while the run lives: who sees it sees the store's folder"""
    shown: Reporter
    check: Callable[[], None]
    """raises KeyboardInterrupt if the run was asked to stop; to be called at every step"""
    known: Callable[[Cell], tuple[KnownFit, ...]]
    """finished cells that have fitted the same, as the store has them now"""


class Opened(NamedTuple):
    """The inputs of a target are there."""

    prepared: PreparedTarget
    broken: Sequence[BrokenImage]
    """images that could not be read"""


Event: TypeAlias = Opened | CellResult


class Executor(ABC):
    """Computes cells. Used as a context manager: what it needs is started once, for several runs."""

    name: ClassVar[str]
    description: ClassVar[str]

    def __enter__(self) -> Executor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:  # noqa: B027 - there may be nothing to stop
        """Give back what was started."""

    @abstractmethod
    def planning_device(self, device: str) -> str:
        """The device of this process on which backbones are loaded to plan the run (``device``: as the user said).

        Raises:
            UserError: for a device that this executor cannot use.
        """

    @abstractmethod
    def device_name(self, device: str) -> str:
        """What computes, in words, for the record of the run; it may be started for that."""

    def versions(self) -> dict[str, str]:
        """What to record of the executor beside the versions of packages."""
        return {}

    @abstractmethod
    def execute(self, work: Work) -> Iterator[Event]:
        """Compute every cell: of each target one :class:`Opened` before its cells, of each cell one result.

        A cell that cannot be computed, for whatever reason, is a failed result.

        Raises:
            KeyboardInterrupt: as soon as ``work.check`` does.
            UserError: if nothing at all can be computed any more.
        """


def _problem(target: Any) -> str | None:
    return None if isinstance(target, type) and issubclass(target, Executor) else "it is no class derived from Executor"


EXECUTORS: Registry[type[Executor]] = Registry(
    "executor", group="harness.executors", package="harness.executors", check=_problem
)


def create(name: str, **options: Any) -> Executor:
    """An executor by name, with those options that are not None.

    Raises:
        UserError: for an unknown name, or an option that the executor does not have.
    """
    kind = EXECUTORS.get(name)
    given = {key: value for key, value in options.items() if value is not None}
    taken = [key for key in inspect.signature(kind).parameters if key not in ("args", "kwargs")]
    for key in given:
        if key not in taken:
            what = ", ".join(_flag(one) for one in taken) if taken else "none"
            others = [entry.name for entry in EXECUTORS if key in inspect.signature(entry.load()).parameters]
            hint = f" It belongs to --executor {' or '.join(others)}." if others else ""
            raise UserError(f"{_flag(key)} is no option of --executor {name}, which has {what}.{hint}")
    return kind(**given)


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"
