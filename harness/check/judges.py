"""Contract of a judge panel (docs/plugins.md), checked on a few grids of drawn images."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.check.finding import Finding, other_globals, require, run, run_all
from harness.check.world import CLASSES, drawn_images
from harness.errors import UserError
from judges.base import Judge, Question, Reply
from judges.grids import Album, Grid, View, content_hash, grid_of
from judges.panel import Panel, Wanted
from judges.prompt import prompt_for

#: Name of the backbone under test that is passed to a panel; no judge is based on it.
BACKBONE = "check"

Factory = Callable[[Wanted], tuple[Judge, ...]]


@dataclass
class Asked:
    """Judge panel with its questions and replies."""

    name: str
    factory: Factory
    options: Mapping[str, Any]
    panel: Panel
    again: Panel
    """the panel, made a second time"""
    questions: list[Question]
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    """replies by judge"""
    later: dict[str, list[Reply]] = field(default_factory=dict)
    """replies by judge of the panel that was made a second time, asked in another order"""


def check_panel(name: str, factory: Factory, options: Mapping[str, Any] | None = None) -> list[Finding]:
    """Check a registered judge panel.

    Args:
        name: registered name.
        factory: function that makes the judges.
        options: settings of the panel, such as the address of its server.
    """
    chosen = dict(options or {})
    made: list[Panel] = []
    wanted = Wanted(BACKBONE, (), chosen)

    def make() -> None:
        for _ in range(2):
            made.append(Panel(name, _judges(factory(wanted), name)))

    findings = [run("judges", make)]
    if not findings[-1].ok:
        return findings
    asked = Asked(name, factory, chosen, made[0], made[1], questions())
    findings += run_all(BEFORE, asked)
    with tempfile.TemporaryDirectory() as folder:
        findings.append(run("replies", lambda: replies(asked, Album(drawn_images(), folder))))
    # Without replies there is nothing to check.
    return findings + run_all(AFTER, asked) if findings[-1].ok else findings


def questions() -> list[Question]:
    """Return the questions of the check.

    They compare grids of one class with grids of all classes, and one image with nine, each in both orders, and a grid
    with itself.
    """
    images = drawn_images()
    n = len(CLASSES)
    one = [_grid(images, range(kind, 9 * n, n)) for kind in range(n)]
    mixed = [_grid(images, range(start, start + 9)) for start in range(n)]
    lone = _grid(images, [0])
    pairs = [*zip(one, mixed, strict=True), (lone, mixed[0])]
    both = [question for a, b in pairs for question in (Question(a, b), Question(b, a))]
    return [*both, Question(one[0], one[0])]


def _grid(images: Any, indices: Any) -> Grid:
    chosen = list(indices)
    contents = [content_hash(images.reader.read(images.records[index])) for index in chosen]
    return grid_of(contents, chosen, [None] * len(chosen), View())


def _judges(made: Any, name: str) -> tuple[Judge, ...]:
    require(isinstance(made, tuple), f"It gives a {type(made).__name__}; what is registered gives a tuple of judges.")
    wrong = [type(judge).__name__ for judge in made if not isinstance(judge, Judge)]
    require(not wrong, f"It gives {', '.join(wrong)}; each judge derives from judges.base.Judge.")
    kinds = {judge.kind for judge in made} - {name}
    require(not kinds, f"The judges' kind is {', '.join(map(repr, kinds))}; it is the panel's name, {name!r}.")
    return tuple(made)


def settings(of: Asked) -> None:
    """Check that settings is plain JSON and the same each time, so that a judge keeps its id, and ids are unique."""
    for judge, again in zip(of.panel.judges, of.again.judges, strict=True):
        try:
            json.dumps(judge.settings())
        except (TypeError, ValueError) as problem:
            raise AssertionError(f"settings of {judge.name} is no plain JSON ({problem}).") from problem
        require(
            judge.id == again.id,
            f"{judge.name} has another id each time it is made ({judge.id}, {again.id}): nothing it replied before "
            "would be found again. settings must give the same each time.",
        )
    ids = [judge.id for judge in of.panel.judges]
    require(len(set(ids)) == len(ids), f"Two judges have the id {Counter(ids).most_common(1)[0][0]}.")


def unknown_options(of: Asked) -> None:
    """Check that an unknown option is refused by name; if it were ignored, a typing error would have no effect."""
    try:
        of.factory(Wanted(BACKBONE, (), {**of.options, "no_such_option": 1}))
    except UserError as error:
        require("no_such_option" in str(error), f"The refusal of an unknown option does not name it: {error}")
        return
    raise AssertionError("wanted.options with an unknown option is accepted in silence; raise UserError naming it.")


def replies(of: Asked, album: Album) -> str:
    """Check that every question gets one reply, passed to keep, under the question's own key."""
    prompt = prompt_for("plain")
    backwards = list(reversed(of.questions))
    for number, (panel, order, found) in enumerate(
        ((of.panel, of.questions, of.replies), (of.again, backwards, of.later))
    ):
        for judge in panel.judges:
            kept: list[Reply] = []
            with other_globals(number), judge:
                judge.ask(order, prompt, album, kept.extend)
            wanted = Counter(judge.key(question, prompt) for question in order)
            got = Counter(reply.key for reply in kept)
            missing, extra = (wanted - got).total(), (got - wanted).total()
            require(
                not missing and not extra,
                f"{judge.name} was asked {len(order)} questions: {missing} got no reply, and {extra} replies answer "
                "none that was asked. Hand `keep` a Reply(self.key(question, prompt), question.attempt, ...) for each.",
            )
            found[judge.name] = kept
    return f"{len(of.questions)} questions for each of {len(of.panel.judges)} judges"


def verdicts(of: Asked) -> None:
    """Check that each reply is JSON with reasoning_a, reasoning_b and the answer A or B."""
    for name, kept in of.replies.items():
        for reply in kept:
            require(
                reply.came, f"No reply came from {name} ({reply.finish_reason}); the question would be asked again."
            )
            problem = reply.verdict.problem
            require(
                reply.verdict.valid,
                f"A reply of {name} cannot be read ({problem}): {str(reply.text)[:80]!r}. Write "
                '{"reasoning_a": "...", "reasoning_b": "...", "answer": "A"}.',
            )


def same_again(of: Asked) -> None:
    """Check that the same questions get the same answers when they are asked in another order."""
    for name, kept in of.replies.items():
        first = {reply.key: reply.verdict.answer for reply in kept}
        changed = [reply for reply in of.later[name] if reply.verdict.answer != first[reply.key]]
        require(
            not changed,
            f"{name} answers {len(changed)} of {len(first)} questions otherwise when they are asked again in another "
            "order; let an answer depend on its two grids only, and seed what is drawn.",
        )


def looks(of: Asked) -> str:
    """Check that the order in which two grids are shown does not decide every answer."""
    told = []
    for name, kept in of.replies.items():
        answer = {reply.key: reply.verdict.answer for reply in kept}
        both = [
            (answer[key], answer[other])
            for key in answer
            if (other := key._replace(grid_a=key.grid_b, grid_b=key.grid_a)) in answer and key < other
        ]
        told.append(f"{name} {_share_right(of, kept)}")
        fixed = {first for first, second in both if first == second}
        stuck = len(fixed) == 1 and all(first == second for first, second in both)
        require(
            not stuck,
            f"{name} answers {', '.join(str(one) for one in fixed)} whatever is shown, in both orders of every pair; "
            "its win rates would be 50 % for everything.",
        )
    return f"grids of one class preferred: {', '.join(told)}"


def _share_right(of: Asked, kept: Sequence[Reply]) -> str:
    """Return how often the grid of one class is preferred to the mixed one, as ``N of TOTAL``."""
    prompt = prompt_for("plain")
    judge = next(judge for judge in of.panel.judges if judge.key(of.questions[0], prompt) in {r.key for r in kept})
    answer = {reply.key: reply.verdict.answer for reply in kept}
    n = 2 * len(CLASSES)
    right = sum(
        answer[judge.key(question, prompt)] == ("A" if number % 2 == 0 else "B")
        for number, question in enumerate(of.questions[:n])
    )
    return f"{right} of {n}"


#: Name -> check that runs before any question; each raises AssertionError with the sentence that explains the failure.
BEFORE: dict[str, Callable[[Asked], Any]] = {"settings and ids": settings, "unknown options": unknown_options}

#: Name -> check of the replies.
AFTER: dict[str, Callable[[Asked], Any]] = {
    "verdicts": verdicts,
    "same questions, same answers": same_again,
    "looks at the grids": looks,
}
