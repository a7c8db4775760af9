"""Panel: judges that are asked the same questions, an odd number of them unless they join freely."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from judges.base import Judge, Keep, Key, Question, Reply
from judges.grids import Album
from judges.guarding import guarded
from judges.prompt import Prompt
from judges.storable import storable_reply
from methods.errors import UserError
from methods.registry import Registry


@dataclass(frozen=True)
class Panel:
    """Judges of one kind: "proxy", "vllm", "openai", "people", or a plugin's name.

    Raises:
        UserError: an even number of judges that do not join freely, a name twice, judges of another kind, or something
            else than judges.
    """

    kind: str
    judges: tuple[Judge, ...]
    votes: bool = True
    """whether its judges decide by majority; otherwise each answers alone, and their number may be even"""

    def __post_init__(self) -> None:
        others = [type(judge).__name__ for judge in self.judges if not isinstance(judge, Judge)]
        if others:
            raise UserError(f"The panel {self.kind!r} contains {', '.join(others)}; all members must be judges.")
        names = [judge.name for judge in self.judges]
        if not all(isinstance(name, str) for name in names):
            raise UserError(f"A judge of the panel {self.kind!r} has no name; its name must be a string.")
        if len(names) % 2 == 0 and (self.votes or not names) and not self.joins_freely:
            raise UserError(
                f"A panel needs an odd number of judges, so that a majority exists; {len(names)} were given: {names}."
            )
        if len(set(names)) < len(names):
            raise UserError(f"A judge occurs twice in the panel: {', '.join(names)}.")
        if len({judge.protocol for judge in self.judges}) > 1:
            raise UserError(f"The judges of the panel {self.kind!r} follow different protocols; all must follow one.")
        if any(judge.answers_later and not judge.joins_freely for judge in self.judges):
            raise UserError(
                f"The judges of the panel {self.kind!r} answer later and do not join freely, so that a question they "
                "leave open would count as an invalid answer; set joins_freely = True as well."
            )
        if any(judge.kind != self.kind for judge in self.judges):
            raise UserError(f"All judges of a panel must be of its kind, {self.kind!r}; remove the others.")

    @property
    def judge_class(self) -> type[Judge] | None:
        """Class of the members; of an empty panel, that of its kind if judges join it freely, else None."""
        return type(self.judges[0]) if self.judges else JOINED_FREELY.get(self.kind)

    @property
    def joins_freely(self) -> bool:
        return self.judge_class is not None and self.judge_class.joins_freely

    def on(self, questions: Sequence[Question], prompt: Prompt) -> Panel:
        """Return the panel of those members who take part in these questions."""
        if not self.joins_freely:
            return self
        with guarded(f"A judge of the panel {self.kind!r}", "takes_part"):
            members = tuple(judge for judge in self.judges if judge.takes_part(questions, prompt))
        return replace(self, judges=members)

    @property
    def protocol(self) -> str | None:
        """Name of the protocol that its judges follow, whatever the suite's; None: the suite's."""
        follower = self.judges[0] if self.judges else self.judge_class
        return None if follower is None else follower.protocol

    @property
    def id(self) -> str:
        """Identifier that starts with the kind, so that a proxy is named as one wherever its scores are shown.

        That of a panel that judges join freely does not name them: it stays the same when one joins.
        """
        if self.joins_freely:
            return self.kind
        return f"{self.kind}:{'+'.join(judge.name.rsplit('/', 1)[-1] for judge in self.judges)}"


class Wanted(NamedTuple):
    """Panel request of a suite or the command line."""

    backbone: str
    """the network under test, which must not judge itself"""
    judges: tuple[Mapping[str, Any], ...] = ()
    """one mapping per judge, in the format of the kind of panel; empty for the panel's default"""
    options: Mapping[str, Any] = {}
    """settings of the kind of panel"""
    folder: Path | None = None
    """folder of the store, for judges with files beside it; None if there is no store yet"""


# An entry makes the judges of a panel. Each module of judges/panels registers one, so that a new kind is a new file.
PANELS: Registry[Callable[[Wanted], tuple[Judge, ...]]] = Registry("judge panel", "harness.judges", "judges.panels")


#: Kind of panel -> class of its judges, of the kinds that judges join freely: such a panel may be empty at first.
JOINED_FREELY: dict[str, type[Judge]] = {}

#: Kind of panel -> its settings, those of one judge included, as far as they can be checked before it is made.
SETTINGS: dict[str, type[BaseModel]] = {}


def make_panel(kind: str, wanted: Wanted, *, votes: bool = True) -> Panel:
    """Return the panel of a kind; ``votes``: whether its judges decide by majority, so that their number is odd.

    Raises:
        UserError: an unknown kind or setting, a package that is missing, or a plugin that raises.
    """
    factory = PANELS.get(kind)
    with guarded(f"The judge panel {kind!r}", "the function that makes its judges"):
        panel = Panel(kind, tuple(factory(wanted)), votes)
    for judge in panel.judges:
        id_of(judge)
    return panel


def id_of(judge: Judge) -> str:
    """Return the id of a judge.

    Raises:
        UserError: it cannot be computed from its settings.
    """
    with guarded(described(judge), "settings"):
        judge_id = judge.id
    if not isinstance(judge_id, str):
        raise UserError(f"{described(judge)} has an id that is no string.")
    return judge_id


def described(judge: Judge) -> str:
    """Return the beginning of a sentence about a judge."""
    return f"The judge {judge.name!r} of the panel {judge.kind!r}"


def require_follows(panel: Panel, protocol: str) -> None:
    """Check that a protocol that was asked for is not one that the judges of a panel replace by their own.

    Raises:
        UserError: it is.
    """
    if panel.protocol not in (None, protocol):
        raise UserError(
            f"The panel {panel.kind!r} follows its own protocol, {panel.protocol!r}, and not {protocol!r}; leave out "
            "--protocol."
        )


def require_concepts(panel: Panel) -> None:
    """Check that the judges of a panel can name concepts.

    Raises:
        UserError: they cannot.
    """
    # A panel that judges join freely may be empty: then the class of its judges decides.
    classes = [type(judge) for judge in panel.judges] or [panel.judge_class or Judge]
    if not all(kind.names_concepts for kind in classes):
        raise UserError(
            f"The panel {panel.kind!r} compares grids and cannot name concepts; use a panel of vision-language models: "
            "--panel openai or vllm."
        )


class LastReply(NamedTuple):
    """Last stored reply to a question."""

    attempts: int
    valid: bool
    came: bool
    cut_off: bool
    answer: str | None = None

    def settled(self, max_attempts: int) -> bool:
        """Return whether nothing is left to ask: there is a verdict, or all attempts failed to give one."""
        return self.valid or (self.came and self.attempts >= max_attempts)


def open_questions(
    judge: Judge, questions: Sequence[Question], prompt: Prompt, stored: Mapping[Key, LastReply]
) -> list[Question]:
    """Return the questions left to ask a judge, each different one once, with its current attempt."""
    with guarded(described(judge), "key"):
        keys = [judge.key(question, prompt) for question in questions]
    left: dict[Key, Question] = {}
    for key, question in zip(keys, questions, strict=True):
        if key in left:
            continue
        last = stored.get(key)
        if last is None:
            left[key] = question
        elif not last.settled(prompt.max_attempts):
            # A missing reply does not count as an attempt: the question is asked again unchanged.
            attempt = last.attempts + 1 if last.came else max(last.attempts, 1)
            left[key] = replace(question, attempt=attempt, cut_off=last.cut_off)
    return list(left.values())


_STORED = "The replies that came before are stored; repeat the command to ask the rest."


def ask(judge: Judge, questions: Sequence[Question], prompt: Prompt, album: Album, keep: Keep) -> None:
    """Ask until every question has a verdict, as many invalid replies as the prompt allows, or no reply.

    The judge may be a plugin's: its replies are bounded before they are kept, and its exceptions become UserErrors.
    Exceptions of ``keep`` are passed on.

    Raises:
        UserError: as :meth:`Judge.ask`, or the judge raised an exception, or left questions without a reply that do not
            stay open (:attr:`Judge.answers_later`).
    """
    with guarded(described(judge), "key"):
        pending = {judge.key(question, prompt): question for question in questions}
    while pending:
        round_ = _Round(pending, keep, prompt)
        try:
            with guarded(described(judge), "ask", _STORED):
                judge.ask(list(pending.values()), prompt, album, round_.store)
        except UserError:
            round_.raise_failure()
            raise
        round_.raise_failure()
        if pending and not judge.answers_later:
            raise UserError(
                f"{described(judge)} left {len(pending)} questions without a reply: it must call `keep` with one "
                f"Reply per question. {_STORED}"
            )
        pending = round_.again


class _Round:
    """Storage of the replies of one round, in which each pending question is asked once."""

    def __init__(self, pending: dict[Key, Question], keep: Keep, prompt: Prompt) -> None:
        self._pending = pending
        self._keep = keep
        self._prompt = prompt
        self._failure: BaseException | None = None
        self.again: dict[Key, Question] = {}

    def store(self, replies: Sequence[Reply]) -> None:
        """Keep the replies to pending questions.

        Raises:
            UserError: other replies were among them.
        """
        given = list(replies)
        answers = {reply.key: reply for reply in given if isinstance(reply, Reply) and self._is_pending(reply.key)}
        kept = [storable_reply(reply, self._pending[key].attempt) for key, reply in answers.items()]
        try:
            self._keep(kept)
        except BaseException as error:
            # The judge might take it for an error of its own.
            self._failure = error
            raise
        for reply in kept:
            question = self._pending.pop(reply.key)
            if reply.came and reply.attempt < self._prompt.max_attempts and not self._prompt.read(reply.text).valid:
                cut_off = reply.finish_reason == "length"
                self.again[reply.key] = replace(question, attempt=reply.attempt + 1, cut_off=cut_off)
        if len(kept) < len(given):
            raise UserError(
                f"A judge passed {len(given) - len(kept)} of {len(given)} replies to `keep` that answer no open "
                "question: pass one Reply(self.key(question, prompt), question.attempt, ...) per question."
            )

    def _is_pending(self, key: object) -> bool:
        return isinstance(key, tuple) and all(isinstance(part, str) for part in key) and key in self._pending

    def raise_failure(self) -> None:
        """Raise the exception of ``keep``, if it raised one."""
        if self._failure is not None:
            raise self._failure
