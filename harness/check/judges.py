"""Contract of a judge panel (docs/plugins.md), checked on a few grids of drawn images."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

# Imported for its side effect: registers the packaged networks with the proxy panel.
import harness.judging.encoders  # noqa: F401
from harness.check.finding import Finding, NotApplicable, other_globals, require, require_json, run_all
from harness.check.world import CLASSES, drawn_images
from harness.errors import UserError
from judges.base import Judge, Question, Reply
from judges.grids import Album, Grid, content_hash, grid_of
from judges.panel import Panel, Wanted
from judges.prompt import prompt_for
from results.views import View

#: Name of the backbone under test that is passed to a panel; no judge is based on it.
BACKBONE = "check"

Factory = Callable[[Wanted], tuple[Judge, ...]]


@dataclass
class CheckedPanel:
    """Registered judge panel with its questions and replies."""

    name: str
    factory: Factory
    options: Mapping[str, Any]
    album: Album
    panel: Panel = field(init=False)
    """the panel, set by the check ``judges``"""
    again: Panel = field(init=False)
    """the panel, made a second time"""
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    """replies by judge, set by the check ``replies``"""
    later: dict[str, list[Reply]] = field(default_factory=dict)
    """replies by judge of the panel that was made a second time, asked in another order"""

    def __post_init__(self) -> None:
        self.questions = questions()


def check_panel(name: str, factory: Factory, options: Mapping[str, Any] | None = None) -> list[Finding]:
    """Check a registered judge panel. ``options`` are its settings, such as the address of its server."""
    with tempfile.TemporaryDirectory() as folder:
        of = CheckedPanel(name, factory, options or {}, Album(drawn_images(), folder))
        return run_all(CHECKS, of, required=(judges, replies))


def questions() -> list[Question]:
    """Return the questions of the check.

    They compare grids of one class with grids of all classes, and one image with nine, each in both orders, and a grid
    with itself.
    """
    images = drawn_images()
    n = len(CLASSES)
    same_class = [_grid(images, range(kind, 9 * n, n)) for kind in range(n)]
    mixed = [_grid(images, range(start, start + 9)) for start in range(n)]
    lone = _grid(images, [0])
    pairs = [*zip(same_class, mixed, strict=True), (lone, mixed[0])]
    both = [question for a, b in pairs for question in (Question(a, b), Question(b, a))]
    return [*both, Question(same_class[0], same_class[0])]


def _grid(images: Any, indices: Any) -> Grid:
    chosen = list(indices)
    contents = [content_hash(images.reader.read(images.records[index])) for index in chosen]
    return grid_of(contents, chosen, [None] * len(chosen), View())


def judges(of: CheckedPanel) -> None:
    """Check that the registered function makes a panel of judges of its kind."""
    panels = []
    for _ in range(2):
        panel: Any = of.factory(Wanted(BACKBONE, (), of.options))
        require(
            isinstance(panel, tuple),
            f"The registered function returns a {type(panel).__name__}; it must return a tuple of judges.",
        )
        others = ", ".join(type(judge).__name__ for judge in panel if not isinstance(judge, Judge))
        require(not others, f"The panel contains {others}; each judge must be a subclass of judges.base.Judge.")
        kinds = ", ".join(repr(kind) for kind in {judge.kind for judge in panel} - {of.name})
        require(not kinds, f"The judges' kind is {kinds}; it must be the panel's name, {of.name!r}.")
        panels.append(Panel(of.name, panel))
    of.panel, of.again = panels


def settings_and_ids(of: CheckedPanel) -> None:
    """Check that settings is plain JSON and the same each time, so that a judge keeps its id, and ids are unique."""
    for judge, again in zip(of.panel.judges, of.again.judges, strict=True):
        require_json(judge.settings(), f"settings of {judge.name} returns")
        require(
            judge.id == again.id,
            f"{judge.name} has another id each time it is created ({judge.id}, {again.id}), so stored replies would "
            "not be reused; settings must return the same values each time.",
        )
    ids = [judge.id for judge in of.panel.judges]
    repeated = [judge_id for judge_id, count in Counter(ids).items() if count > 1]
    require(not repeated, f"Two judges have the id {', '.join(repeated)}; ids must be unique.")


def unknown_options(of: CheckedPanel) -> None:
    """Check that an unknown option is refused by name; if it were ignored, a typing error would have no effect."""
    try:
        of.factory(Wanted(BACKBONE, (), {**of.options, "no_such_option": 1}))
    except UserError as error:
        require("no_such_option" in str(error), f"The error for an unknown option does not name the option: {error}")
        return
    raise AssertionError("An unknown option in wanted.options is ignored; raise UserError with its name.")


def replies(of: CheckedPanel) -> str:
    """Check that every question gets one reply, passed to keep, under the question's own key."""
    prompt = prompt_for("plain", of.panel.protocol or "default")
    rounds = ((of.panel, of.questions, of.replies), (of.again, of.questions[::-1], of.later))
    for number, (panel, order, replies_of) in enumerate(rounds):
        for judge in panel.judges:
            collected: list[Reply] = []
            with other_globals(number), judge:
                judge.ask(order, prompt, of.album, collected.extend)
            expected = Counter(judge.key(question, prompt) for question in order)
            received = Counter(reply.key for reply in collected)
            missing, extra = (expected - received).total(), (received - expected).total()
            missing = 0 if judge.answers_later else missing
            require(
                not missing and not extra,
                f"{judge.name} was asked {len(order)} questions: {missing} got no reply, and {extra} replies match no "
                "question; call `keep` with one Reply(self.key(question, prompt), question.attempt, ...) per question.",
            )
            replies_of[judge.name] = collected
    n_open = sum(len(of.questions) - len(given) for given in of.replies.values())
    if of.replies and not any(of.replies.values()):
        raise NotApplicable("The judges answer later, and none has answered yet; their replies were not checked.")
    left = f", {n_open} of them left open" if n_open else ""
    return f"{len(of.questions)} questions for each of {len(of.panel.judges)} judges{left}"


def verdicts(of: CheckedPanel) -> None:
    """Check that each reply is JSON with reasoning_a, reasoning_b and the answer A or B."""
    for name, judge_replies in of.replies.items():
        for reply in judge_replies:
            require(reply.came, f"{name} gave no reply ({reply.finish_reason}), so the question would be asked again.")
            problem = reply.verdict.problem
            require(
                reply.verdict.valid,
                f"A reply of {name} is invalid ({problem}): {str(reply.text)[:80]!r}. Reply with "
                '{"reasoning_a": "...", "reasoning_b": "...", "answer": "A"}.',
            )


def same_questions_same_answers(of: CheckedPanel) -> None:
    """Check that the same questions get the same answers when they are asked in another order."""
    for name, judge_replies in of.replies.items():
        first = {reply.key: reply.verdict.answer for reply in judge_replies}
        # Judges who answer later may leave questions open.
        changed = [r for r in of.later[name] if r.key in first and r.verdict.answer != first[r.key]]
        require(
            not changed,
            f"{name} answers {len(changed)} of {len(first)} questions differently if they are asked again in another "
            "order; an answer must depend only on its two grids, with random draws seeded.",
        )


def depends_on_the_grids(of: CheckedPanel) -> str:
    """Check that the order in which two grids are shown does not decide every answer."""
    prompt = prompt_for("plain", of.panel.protocol or "default")
    n = 2 * len(CLASSES)
    preferences = []
    for judge in of.panel.judges:
        answer = {reply.key: reply.verdict.answer for reply in of.replies[judge.name]}
        # The grid of one class is A in the questions of even number.
        answers = [answer.get(judge.key(question, prompt)) for question in of.questions[:n]]
        n_right = sum(given == right for given, right in zip(answers, "AB" * len(CLASSES), strict=True))
        preferences.append(f"{judge.name} {n_right} of {n}")
        both = [
            (answer[key], answer[other])
            for key in answer
            if (other := key._replace(grid_a=key.grid_b, grid_b=key.grid_a)) in answer and key < other
        ]
        fixed = {first for first, second in both if first == second}
        stuck = len(fixed) == 1 and all(first == second for first, second in both)
        require(
            not stuck,
            f"{judge.name} answers {', '.join(map(str, fixed))} in both orders of every pair, whatever is shown; all "
            "win rates would be 50 %.",
        )
    return f"grids of one class preferred: {', '.join(preferences)}"


#: Checks in the order in which they run. Each raises AssertionError with a sentence that explains the failure.
CHECKS: tuple[Callable[[CheckedPanel], Any], ...] = (
    judges, settings_and_ids, unknown_options, replies, verdicts, same_questions_same_answers, depends_on_the_grids,
)  # fmt: skip
