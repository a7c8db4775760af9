"""Whatever a judge plugin raises or returns becomes a sentence or an invalid reply; a real interrupt interrupts."""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from PIL import Image

from judges.base import Judge, Keep, Key, Question, Reply
from judges.grids import Album, Grid, Tile
from judges.guarding import guarded, opened
from judges.panel import PANELS, Wanted, ask, described, make_panel
from judges.parsing import MAX_REPLY_CHARS
from judges.prompt import Prompt, prompt_for
from methods.errors import UserError
from results.errors import StoreError

RIGHT = '{"reasoning_a": "x", "reasoning_b": "y", "answer": "A"}'


class Odd(BaseException):
    """Not derived from Exception."""


class Unreadable(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class UnreadableSentence(UserError):
    def __str__(self) -> str:
        raise ValueError("no text")


RAISED: list[BaseException] = [
    ValueError("one\ntwo"),
    ValueError("\x1b[31m" + "x" * 10_000),
    RecursionError(),
    MemoryError(),
    StopIteration(),
    SystemExit(0),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError(),
    BaseExceptionGroup("both", [Odd(), ValueError()]),
    Odd("odd"),
    Unreadable(),
    UnreadableSentence(),
]


def ids(value: object) -> str:
    return type(value).__name__


class Plugin(Judge):
    """Does in a method what it is told, and answers rightly otherwise."""

    kind: ClassVar[str] = "plugin"

    def __init__(self, method: str = "", act: Callable[..., Any] = lambda: None) -> None:
        self.name, self.method, self.act = "p", method, act

    def _do(self, method: str, *arguments: Any) -> None:
        if self.method == method:
            self.act(*arguments)

    def settings(self) -> dict[str, Any]:
        self._do("settings")
        return {}

    def key(self, question: Question, prompt: Prompt) -> Key:
        self._do("key")
        return super().key(question, prompt)

    def __enter__(self) -> Plugin:
        self._do("__enter__")
        return self

    def __exit__(self, *exception: object) -> None:
        self._do("__exit__")

    def ask(self, questions: Sequence[Question], prompt: Prompt, album: Album, keep: Keep) -> None:
        keep([Reply(self.key(questions[0], prompt), 1, RIGHT, "stop")])
        self._do("ask", keep)
        for question in questions[1:]:
            keep([Reply(self.key(question, prompt), 1, RIGHT, "stop")])


class Black:
    def open(self, index: int) -> Image.Image:
        return Image.new("RGB", (1, 1))


def asked(judge: Judge, folder: Path, n: int = 3, keep: Keep | None = None) -> list[Reply]:
    kept: list[Reply] = []
    questions = [Question(Grid((Tile(f"a{i}", 0),)), Grid((Tile(f"b{i}", 1),))) for i in range(n)]
    try:
        with opened(judge, described(judge)):
            ask(judge, questions, prompt_for("plain"), Album(Black(), folder), keep or kept.extend)
    except UserError as error:
        error.add_note(f"{len(kept)} kept")
        raise
    return kept


def raising(error: BaseException) -> Callable[..., None]:
    def act(*arguments: Any) -> None:
        raise error

    return act


@pytest.mark.parametrize("method", ["__enter__", "key", "ask", "__exit__"])
@pytest.mark.parametrize("error", RAISED, ids=ids)
def test_any_exception_is_a_sentence_with_plugin_and_call(tmp_path: Path, method: str, error: BaseException) -> None:
    with pytest.raises(UserError) as caught:
        asked(Plugin(method, raising(error)), tmp_path)
    sentence = str(caught.value)
    assert sentence.startswith(f"The judge 'p' of the panel 'plugin' failed in {method}: {type(error).__name__}")
    assert len(sentence) < 600 and sentence.isprintable()
    assert caught.value.__notes__ == [f"{ {'ask': 1, '__exit__': 3}.get(method, 0) } kept"]


@pytest.mark.parametrize("error", RAISED, ids=ids)
def test_any_exception_of_the_factory_or_settings_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(PANELS, "get", lambda name: raising(error))
    with pytest.raises(UserError, match=f"^The judge panel 'plugin' failed in .*{type(error).__name__}"):
        make_panel("plugin", Wanted("vit"))
    monkeypatch.setattr(PANELS, "get", lambda name: lambda wanted: (Plugin("settings", raising(error)),))
    with pytest.raises(UserError, match=f"^The judge 'p' of the panel 'plugin' failed in settings: {ids(error)}"):
        make_panel("plugin", Wanted("vit"))


@pytest.mark.parametrize("returned", [None, 5, "judges", (1,), [object()], {}, (Plugin,)])
def test_a_factory_that_returns_no_judges_is_explained(monkeypatch: pytest.MonkeyPatch, returned: Any) -> None:
    monkeypatch.setattr(PANELS, "get", lambda name: lambda wanted: returned)
    with pytest.raises(UserError, match="panel"):
        make_panel("plugin", Wanted("vit"))


def test_sentences_of_the_plugin_itself_pass(tmp_path: Path) -> None:
    for error in (UserError("Set the variable X."), StoreError("The store is busy.")):
        with pytest.raises(type(error), match=f"^{error}"):
            asked(Plugin("ask", raising(error)), tmp_path)


@pytest.mark.parametrize("swallowed", [False, True])
def test_a_real_interrupt_interrupts(tmp_path: Path, swallowed: bool) -> None:
    def act(*arguments: Any) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            if not swallowed:
                raise

    before = signal.set_wakeup_fd(-1)
    with pytest.raises(KeyboardInterrupt):
        asked(Plugin("ask", act), tmp_path)
    assert signal.set_wakeup_fd(before) == -1
    # The next one is not affected.
    assert len(asked(Plugin(), tmp_path)) == 3


def test_it_works_in_a_thread() -> None:
    async def run() -> str:
        def call() -> str:
            with pytest.raises(UserError) as caught, guarded("It", "call"):
                raise KeyboardInterrupt
            return str(caught.value)

        return await asyncio.to_thread(call)

    assert asyncio.run(run()).startswith("It failed in call: KeyboardInterrupt")


def test_an_error_of_the_store_is_not_the_judges(tmp_path: Path) -> None:
    def keep(replies: Sequence[Reply]) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        asked(Plugin(), tmp_path, keep=keep)


ODD_REPLIES: list[tuple[dict[str, Any], str | None]] = [
    ({"text": b"bytes"}, None),
    ({"text": 5}, None),
    ({"text": ["A"]}, None),
    ({"text": RIGHT + " " * 10_000_000}, None),
    ({"text": RIGHT.replace("x", "\ud800\0")}, "A"),
    ({"finish_reason": None}, "A"),
    ({"finish_reason": "x\x1b\n" * 10_000}, "A"),
    ({"attempt": 99}, "A"),
    ({"attempt": "1"}, "A"),
    ({"seconds": math.nan}, "A"),
    ({"seconds": "soon"}, "A"),
    ({"seconds": 10**400}, "A"),
    ({"prompt_tokens": 10**30, "completion_tokens": True}, "A"),
    ({"prompt_tokens": -1, "completion_tokens": math.inf}, "A"),
]


@pytest.mark.parametrize(("changes", "answer"), ODD_REPLIES)
def test_odd_replies_are_stored_in_bounded_form(tmp_path: Path, changes: dict[str, Any], answer: str | None) -> None:
    class OddReplies(Plugin):
        def ask(self, questions: Sequence[Question], prompt: Prompt, album: Album, keep: Keep) -> None:
            right = {"text": RIGHT, "finish_reason": "stop", "attempt": 1}
            keep([Reply(key=self.key(question, prompt), **{**right, **changes}) for question in questions])

    last = asked(OddReplies(), tmp_path, n=1)[-1]
    assert last.verdict.answer == answer and last.came
    assert last.attempt == (1 if answer else 3) and len(last.finish_reason) <= 200 and last.finish_reason.isprintable()
    assert isinstance(last.text, str) and len(last.text) <= MAX_REPLY_CHARS + 1
    assert (last.text + str(last.verdict.reasoning_a)).encode() and "\0" not in last.text
    assert last.prompt_tokens is last.completion_tokens is last.seconds is None


@pytest.mark.parametrize("passed", [[None], [5], "text", [Reply(Key("a", "b", "c", "d"), 1, RIGHT, "stop")]])
def test_replies_to_no_question_are_refused(tmp_path: Path, passed: Any) -> None:
    with pytest.raises(UserError, match="answer no open question"):
        asked(Plugin("ask", lambda keep: keep(passed)), tmp_path)


def test_missing_replies_are_explained(tmp_path: Path) -> None:
    class Silent(Plugin):
        def ask(self, questions: Sequence[Question], prompt: Prompt, album: Album, keep: Keep) -> Any:
            yield None  # a generator: nothing of it runs

    with pytest.raises(UserError, match="left 3 questions without a reply"):
        asked(Silent(), tmp_path)
