"""Panel: an odd number of judges that are asked the same questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pydantic import BaseModel

from judges.base import MAX_ATTEMPTS, Judge, Keep, Key, Question, Reply
from judges.grids import Album
from judges.prompt import Prompt
from methods.errors import UserError
from methods.registry import Registry


@dataclass(frozen=True)
class Panel:
    """Judges of one kind: "proxy", "vllm", "openai", or a plugin's name.

    Raises:
        UserError: an even number of judges, a name twice, or judges of another kind.
    """

    kind: str
    judges: tuple[Judge, ...]

    def __post_init__(self) -> None:
        names = [judge.name for judge in self.judges]
        if len(names) % 2 == 0:
            raise UserError(
                f"A panel needs an odd number of judges, so that a majority exists; {len(names)} were given: {names}."
            )
        if len(set(names)) < len(names):
            raise UserError(f"A judge occurs twice in the panel: {', '.join(names)}.")
        if any(judge.kind != self.kind for judge in self.judges):
            raise UserError(f"All judges of a panel must be of its kind, {self.kind!r}; remove the others.")

    @property
    def id(self) -> str:
        """Identifier that starts with the kind, so that a proxy is named as one wherever its scores are shown."""
        return f"{self.kind}:{'+'.join(judge.name.rsplit('/', 1)[-1] for judge in self.judges)}"


class Wanted(NamedTuple):
    """Panel request of a suite or the command line."""

    backbone: str
    """the network under test, which must not judge itself"""
    judges: tuple[Mapping[str, Any], ...] = ()
    """one mapping per judge, in the format of the kind of panel; empty for the panel's default"""
    options: Mapping[str, Any] = {}
    """settings of the kind of panel"""


# An entry makes the judges of a panel. Each module of judges/panels registers one, so that a new kind is a new file.
PANELS: Registry[Callable[[Wanted], tuple[Judge, ...]]] = Registry("judge panel", "harness.judges", "judges.panels")


#: Kind of panel -> its settings, those of one judge included, as far as they can be checked before it is made.
SETTINGS: dict[str, type[BaseModel]] = {}


def make_panel(kind: str, wanted: Wanted) -> Panel:
    """Return the panel of a kind.

    Raises:
        UserError: an unknown kind or setting, or a package that is missing.
    """
    return Panel(kind, PANELS.get(kind)(wanted))


class LastReply(NamedTuple):
    """Last stored reply to a question."""

    attempts: int
    valid: bool
    came: bool
    cut_off: bool

    @property
    def settled(self) -> bool:
        """True if nothing is left to ask: there is a verdict, or all attempts failed to give one."""
        return self.valid or (self.came and self.attempts >= MAX_ATTEMPTS)


def open_questions(
    judge: Judge, questions: Sequence[Question], prompt: Prompt, stored: Mapping[Key, LastReply]
) -> list[Question]:
    """Return the questions left to ask a judge, each pair of grids in each order once, with its current attempt."""
    left: dict[Key, Question] = {}
    for question in questions:
        key = judge.key(question, prompt)
        if key in left:
            continue
        last = stored.get(key)
        if last is None:
            left[key] = question
        elif not last.settled:
            # A missing reply does not count as an attempt: the question is asked again unchanged.
            attempt = last.attempts + 1 if last.came else max(last.attempts, 1)
            left[key] = replace(question, attempt=attempt, cut_off=last.cut_off)
    return list(left.values())


def ask(judge: Judge, questions: Sequence[Question], prompt: Prompt, album: Album, keep: Keep) -> None:
    """Ask until every question has a verdict, three invalid replies, or no reply.

    Raises:
        UserError: as :meth:`Judge.ask`.
    """
    pending = {judge.key(question, prompt): question for question in questions}

    def store(replies: Sequence[Reply]) -> None:
        keep(replies)
        for reply in replies:
            question = pending.pop(reply.key)
            if reply.came and not reply.verdict.valid and reply.attempt < MAX_ATTEMPTS:
                again[reply.key] = replace(question, attempt=reply.attempt + 1, cut_off=reply.finish_reason == "length")

    while pending:
        again: dict[Key, Question] = {}
        judge.ask(list(pending.values()), prompt, album, store)
        if pending:
            raise RuntimeError(f"The judge {judge.id} left {len(pending)} questions without a reply.")
        pending = again
