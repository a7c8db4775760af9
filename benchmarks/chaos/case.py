"""Cases of the campaign, and what a program that was run did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple


class Bounds(NamedTuple):
    """Largest use of one command that is not a fault."""

    seconds: float = 60.0
    mebibytes: float = 1500.0
    """peak of resident memory above that at the start of the command"""


class Done(NamedTuple):
    """Result of one command."""

    arguments: tuple[str, ...]
    code: int | None
    """exit code, negative for a signal; None if the command was stopped at its time limit"""
    stdout: str
    stderr: str
    seconds: float
    mebibytes: float
    """growth of the resident memory"""


#: Puts the input into an empty folder, which is the working directory of the commands.
Arrange = Callable[[Path], None]
#: Looks at what the commands left in the folder; returns the faults as sentences.
Examine = Callable[[Path, Sequence[Done]], Iterable[str]]


def _nothing(folder: Path, done: Sequence[Done]) -> Iterable[str]:
    return ()


@dataclass(frozen=True)
class Case:
    """One input and the commands that read it.

    Attributes:
        name: mutation, for the reader of the report; need not be unique.
        arrange: writes the input.
        commands: arguments of ``harness``, each run in a process of its own.
        mentions: the message of a refused command contains one of these; empty: any message will do.
        codes: exit codes that are documented for such a command.
        examine: further conditions.
        must_fail: True if no command may succeed.
        of_its_own: True if the input is code, whose exceptions are named.
    """

    name: str
    arrange: Arrange
    commands: tuple[tuple[str, ...], ...]
    mentions: tuple[str, ...] = ()
    codes: frozenset[int] = frozenset({0, 1, 2})
    bounds: Bounds = field(default_factory=Bounds)
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    examine: Examine = _nothing
    must_fail: bool = False
    of_its_own: bool = False


class Result(NamedTuple):
    """Outcome of one case; without faults it is clear."""

    number: int
    name: str
    faults: tuple[str, ...]
    done: tuple[Done, ...]
    seconds: float
