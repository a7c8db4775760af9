"""Base class of judges: a judge gets questions about one or two grids and returns replies that its prompt reads."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
        """What grid A is compared with: the key of grid B, the hash of the concept, or nothing."""
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
    """

    key: Key
    attempt: int
    text: str | None
    finish_reason: str
    seconds: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

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


class Judge(ABC):
    """Member of a panel. Use it as a context manager: its resources (a model, connections) are available inside.

    Attributes:
        kind: kind of its panel ("proxy", "vllm", "openai"); a proxy compares image features and ignores the prompt.
        name: display name, unique in its panel.
        protocol: name of the protocol that judges of this class follow, whatever the suite's; None: the suite's.
        names_concepts: True if it can also name the concept of one grid and say whether an image shows a concept.
    """

    kind: ClassVar[str]
    protocol: ClassVar[str | None] = None
    names_concepts: ClassVar[bool] = False
    name: str

    def settings(self) -> dict[str, Any]:
        """Return all settings that can change a reply, as plain JSON, without addresses and keys."""
        return {}

    @property
    def id(self) -> str:
        """Kind and name, with a hash of the settings: replies of other settings belong to another judge."""
        text = json.dumps(self.settings(), sort_keys=True, separators=(",", ":"))
        return f"{self.kind}/{self.name}#{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"

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

        A question that fails gets a reply without text.

        Raises:
            UserError: no question can be answered (no such model, no permission). Replies passed to ``keep`` stay
                stored.
        """
