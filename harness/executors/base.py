"""Interface of executors, which compute the cells of a run, here or elsewhere, and yield each result when it is ready.

Each file of this package is one executor. Executors do not write to the store; the recorder of the run does, in the
process that the user started.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

from harness.errors import UserError
from harness.executors.sharing import Sharing
from methods.interrupts import interrupting
from methods.registry import Registry

if TYPE_CHECKING:
    # A wrong option of an executor is refused before torch is imported.
    from harness.cells.fit import SavedFit
    from harness.cells.inputs import AheadTokens
    from harness.cells.plan import Cell, PreparedTarget
    from harness.cells.run_cell import CellContext, CellResult
    from harness.progress import Reporter
    from harness.suites import Suite


class TargetWork(NamedTuple):
    """Unfinished cells of one target; at least one."""

    prepared: PreparedTarget
    cells: tuple[Cell, ...]
    ahead: tuple[AheadTokens, ...] = ()
    """token sets of the same backbone that other targets need, and suites after this one"""


class Work(NamedTuple):
    """Cells that a run has to compute, and functions that an executor may call while it does."""

    suite: Suite
    targets: tuple[TargetWork, ...]
    device: str
    """as requested by the user, ``auto`` included"""
    context: CellContext
    """run, suite, folder, and the device of this process"""
    cache: Path
    mark: Path
    """file beside the store that holds the id of the run while it lives: shows that a machine sees the folder"""
    reporter: Reporter
    check: Callable[[], None]
    """raises KeyboardInterrupt if the run was asked to stop; called at every step"""
    saved_fits: Callable[[Cell], tuple[SavedFit, ...]]
    """fits of finished cells with the same fit identity, as the store has them now"""
    sharing: Sharing = Sharing()
    """tells which cells other runs on the store compute"""

    @interrupting
    def progress(self, done: int, total: int, what: str) -> None:
        """Report progress, and raise KeyboardInterrupt as :attr:`check` does."""
        self.check()
        self.reporter.progress(done, total, what)


class Opened(NamedTuple):
    """Event: the inputs of a target are ready."""

    prepared: PreparedTarget
    broken: Mapping[str, str]
    """images that could not be read, name to reason"""
    seconds: Mapping[str, float] = {}
    """time of the inputs that were made (:attr:`harness.cells.inputs.Inputs.seconds`); empty if it is not known"""
    ahead: tuple[AheadTokens, ...] = ()
    """token sets that were made too, if tokens were"""


Event: TypeAlias = "Opened | CellResult"


class Executor(AbstractContextManager["Executor"]):
    """Base class of executors. As a context manager it starts its resources once, for several runs."""

    name: ClassVar[str]
    description: ClassVar[str]

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Release what was started."""

    def release(self) -> None:
        """Give back the memory of this machine's GPUs that idle workers hold; they are started again when needed."""

    @abstractmethod
    def planning_device(self, device: str) -> str:
        """Return the device of this process on which backbones are loaded to plan the run.

        Raises:
            UserError: for a device that this executor cannot use.
        """

    @abstractmethod
    def device_name(self, device: str) -> str:
        """Return the name of the hardware that computes, for the record of the run; may start the executor."""

    def versions(self) -> dict[str, str]:
        """Return entries to record beside the versions of packages."""
        return {}

    @abstractmethod
    def execute(self, work: Work) -> Iterator[Event]:
        """Compute every cell: yield one :class:`Opened` per target before its cells, and one result per cell.

        A cell that cannot be computed gives a failed result. A cell that ``work.sharing`` does not grant gives none.

        Raises:
            KeyboardInterrupt: as soon as ``work.check`` does.
            UserError: if no cell can be computed any more.
        """


def _problem(target: Any) -> str | None:
    return None if isinstance(target, type) and issubclass(target, Executor) else "it is not a subclass of Executor"


EXECUTORS: Registry[type[Executor]] = Registry(
    "executor", group="harness.executors", package="harness.executors", check=_problem
)


def create(name: str, **options: Any) -> Executor:
    """Return an executor by name, with the options that are not None.

    Raises:
        UserError: for an unknown name, or an option that the executor does not have.
    """
    executor = EXECUTORS.get(name)
    settings = {key: value for key, value in options.items() if value is not None}
    accepted = [key for key in inspect.signature(executor).parameters if key not in ("args", "kwargs")]
    for key in settings:
        if key not in accepted:
            flags = ", ".join(map(_flag, accepted)) or "none"
            others = [entry.name for entry in EXECUTORS if key in inspect.signature(entry.load()).parameters]
            hint = f" It belongs to --executor {' or '.join(others)}." if others else ""
            raise UserError(f"{_flag(key)} is no option of --executor {name}, which has {flags}.{hint}")
    return executor(**settings)


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"
