"""Base class of judges: a judge gets questions about one or two grids and returns replies that its prompt reads."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

from judges.grids import Album, Grid
from judges.parsing import Verdict, parse_reply
from judges.prompt import Prompt


class Key(NamedTuple):
    """Key under which a reply is kept. The order of the two grids is the order in which they are shown.

    If only grid A is shown, ``grid_b`` is :attr:`Question.subject`.
    """

    judge: str
    prompt_version: str
    grid_a: str
    grid_b: str


@dataclass(frozen=True)
class Question:
    """One or two grids in the order in which they are shown."""

    grid_a: Grid
    grid_b: Grid | None = None
    attempt: int = 1
    """above 1 if the previous replies were invalid"""
    cut_off: bool = False
    """true if the previous reply was cut off, so that this one may be longer"""
    concept: str | None = None
    """text that the prompt quotes, of a question about grid A alone"""

    @property
    def pictures(self) -> tuple[Grid, ...]:
        """The grids that are shown, in their order."""
        return (self.grid_a,) if self.grid_b is None else (self.grid_a, self.grid_b)

    @property
    def subject(self) -> str:
        """Subject that grid A is compared with: the key of grid B, the hash of the concept, or nothing."""
        if self.grid_b is not None:
            return self.grid_b.key
        if self.concept is None:
            return ""
        return "concept:" + hashlib.blake2b(self.concept.encode("utf-8", "replace"), digest_size=10).hexdigest()


@dataclass(frozen=True)
class Reply:
    """Reply of a judge to one question.

    Attributes:
        text: the raw reply; None if none came (e.g. the connection failed permanently).
        finish_reason: reason reported by the judge for the end of the reply ("stop", "length"), or why none came.
        seconds: time from the question to the reply, if known.
        prompt_tokens, completion_tokens: as counted by the judge, if known.
        replied_at: when the reply was given, if that was not now.
    """

    key: Key
    attempt: int
    text: str | None
    finish_reason: str
    seconds: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    replied_at: datetime | None = None

    @property
    def came(self) -> bool:
        return self.text is not None

    @property
    def verdict(self) -> Verdict:
        """The reply to a question about two grids; :attr:`judges.prompt.Prompt.read` reads those of other prompts."""
        return parse_reply(self.text)


Keep = Callable[[Sequence[Reply]], None]
"""Stores replies. What it was given is safe when it returns; a judge calls it as soon as there is something to keep."""


class CallEstimate(NamedTuple):
    """Approximate cost of one call, in tokens."""

    prompt_tokens: int
    completion_tokens: int


class Preparation(NamedTuple):
    """Argument of :meth:`Judge.prepare`: all questions of one tournament."""

    tournament: str
    """id of the tournament"""
    title: str
    """layer on which the methods are compared"""
    questions: Sequence[Question]
    prompt: Prompt
    album: Album
    folder: Path
    """folder of the store, for files beside it"""
    progress: Callable[[int, int, str], None] = lambda done, total, what: None
    """called with the number of steps done, their total, and a description"""


class Judge(ABC):
    """Member of a panel. Use it as a context manager: its resources (a model, connections) are available inside.

    Attributes:
        kind: kind of its panel ("proxy", "vllm", "openai"); a proxy compares image features and ignores the prompt.
        name: display name, unique in its panel.
        own_process: true if it loads a model on a GPU. It is then asked in a process of its own
            (:mod:`judges.processes`), which ends with it and leaves nothing on the GPU. Such a judge can be pickled
            before it is entered, its class is importable there (not from a file given with ``--plugin``), and it takes
            grids from :meth:`judges.grids.Album.file`. `harness explain` asks it in its own process.
        protocol: name of the protocol that judges of this class follow, whatever the suite's; None: the suite's.
        joins_freely: judges join while judging goes on, and each answers some of the questions. So a panel may have any
            number of them, a tournament stays the same when one joins, and a comparison is decided by more than half of
            those who answered it.
        answers_later: a question may be left open without a reply until `harness judge` is repeated, and a reply may
            change or be taken back. So all questions are asked every time. Such judges must join freely.
        names_concepts: True if it can also name the concept of one grid and say whether an image shows a concept.
    """

    kind: ClassVar[str]
    protocol: ClassVar[str | None] = None
    joins_freely: ClassVar[bool] = False
    answers_later: ClassVar[bool] = False
    names_concepts: ClassVar[bool] = False
    name: str
    own_process: ClassVar[bool] = False

    def settings(self) -> dict[str, Any]:
        """Return all settings that can change a reply, as plain JSON, without addresses and keys."""
        return {}

    @property
    def id(self) -> str:
        """Kind and name, with a hash of the settings: replies of other settings belong to another judge."""
        text = json.dumps(self.settings(), sort_keys=True, separators=(",", ":"))
        return f"{self.kind}/{self.name}#{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"

    @classmethod
    def prepare(cls, preparation: Preparation) -> None:
        """Get ready for all questions of a tournament, before any is asked and also if none is open."""
        return None

    def takes_part(self, questions: Sequence[Question], prompt: Prompt) -> bool:
        """Return whether this judge is a member of the panel on these questions, if judges join freely."""
        return True

    @property
    def n_gpus(self) -> int:
        """Number of GPUs that its model needs, if it has a process of its own."""
        return 1

    def key(self, question: Question, prompt: Prompt) -> Key:
        return Key(self.id, prompt.version, question.grid_a.key, question.subject)

    def estimate(self, prompt: Prompt) -> CallEstimate:
        """Return the tokens of one call; zeros if it uses none."""
        return CallEstimate(0, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    @abstractmethod
    def ask(self, questions: Sequence[Question], prompt: Prompt, album: Album, keep: Keep) -> None:
        """Ask every question once and pass each reply to ``keep`` as it comes.

        A question that fails gets a reply without text. A judge that answers later passes on the replies that it has.

        Raises:
            UserError: no question can be answered (no such model, no permission). Replies passed to ``keep`` stay
                stored.
        """
