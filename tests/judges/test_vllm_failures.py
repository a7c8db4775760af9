"""The ``vllm`` panel when the engine refuses, fails or dies: one sentence, with every reply that came kept."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
from vllm_stub import (
    RIGHT,
    EngineDeadError,
    Recorder,
    Squares,
    VLLMValidationError,
    judged,
    questions,
    without_pictures,
)

from judges.base import Reply
from judges.grids import Album
from judges.panel import Wanted, ask, make_panel
from judges.prompt import prompt_for
from methods.errors import UserError

pytestmark = pytest.mark.run


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    recorder.install(monkeypatch)
    return recorder


@pytest.mark.parametrize("kind", [ValueError, VLLMValidationError])
def test_a_refused_prompt_is_that_reply_alone(vllm: Recorder, tmp_path: Path, kind: type[Exception]) -> None:
    def refuse(asked: Any) -> None:
        if asked[0][0]["content"][0]["image_pil"].getpixel((0, 0))[0] in range(56, 65):
            raise kind("the prompt is too long\nwith details")

    vllm.refuse = refuse
    kept = judged(tmp_path, 6, ["m"])
    assert sum(reply.came for reply in kept) == 5
    [missing] = [reply for reply in kept if not reply.came]
    assert missing.finish_reason == "error: the prompt is too long"


def test_questions_that_the_engine_loses_are_not_waited_for(
    vllm: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["vllm"].LLM, "enqueue_chat", lambda *_, **__: [f"{next(ids)}-ff"])
        with pytest.raises(UserError, match="The vLLM engine of 'm' lost 3 questions"):
            judged(tmp_path, 3, ["m"])


def test_a_request_that_the_engine_gives_up_has_no_reply(vllm: Recorder, tmp_path: Path) -> None:
    vllm.say = lambda asked: ("", "abort")
    [reply] = judged(tmp_path, 1, ["m"])
    assert not reply.came and reply.finish_reason == "abort"


def test_an_engine_that_refuses_all_is_not_asked_thousands_of_questions(
    vllm: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_pictures(monkeypatch)
    calls: list[Any] = []

    def refuse(asked: Any) -> None:
        calls.append(asked)
        if len(calls) > 100:
            raise VLLMValidationError("no")

    vllm.refuse = refuse
    kept: list[Reply] = []
    (judge,) = make_panel("vllm", Wanted("vit", ({"name": "m"},))).judges
    refused = (
        r"The vLLM engine of 'm' refused 32 questions in a row \(error: no\)\. The replies that came before are stored"
    )
    with pytest.raises(UserError, match=refused), judge:
        ask(judge, questions(640), prompt_for("plain"), Album(Squares(), tmp_path), kept.extend)
    assert len(calls) == 132 and vllm.alive == 0


@pytest.mark.parametrize("place", ["enqueue", "step"])
@pytest.mark.parametrize(
    ("error", "what"),
    [
        (EngineDeadError("EngineCore encountered an issue."), "died; its reason stands in the log above"),
        (RuntimeError("CUDA error: out of memory"), "failed: CUDA error: out of memory"),
    ],
)
def test_an_engine_that_dies_or_fails_ends_the_asking_at_once(
    vllm: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: Exception, what: str
) -> None:
    without_pictures(monkeypatch)
    monkeypatch.setattr("judges.panels.vllm.IN_FLIGHT", 8)

    def fails(asked: Any) -> tuple[str, str]:
        if vllm.steps > 3:
            raise error
        return RIGHT, "stop"

    if place == "step":
        vllm.say = fails
    elif isinstance(error, EngineDeadError):
        vllm.refuse = lambda asked: fails(asked) and None
    else:
        pytest.skip("a refused prompt, tested above")
    kept: list[Reply] = []
    (judge,) = make_panel("vllm", Wanted("vit", ({"name": "m"},))).judges
    with pytest.raises(UserError, match=f"The vLLM engine of 'm' {what}. The replies that came before"), judge:
        ask(judge, questions(40), prompt_for("plain"), Album(Squares(), tmp_path), kept.extend)
    assert len(kept) >= 12 and all(reply.came for reply in kept) and vllm.alive == 0


PYDANTIC = """1 validation error for VllmConfig
  Value error, To serve at least one request with the models's max seq len (32768), 15.5 GiB KV cache is needed, which \
is larger than the available KV cache memory (9.4 GiB). [type=value_error, input_value=ArgsKwargs((), {}), input_type=A]
    For further information visit https://errors.pydantic.dev/2.12/v/value_error"""


@pytest.mark.parametrize("error", [KeyError("architectures"), AttributeError("no tokenizer"), EngineDeadError()])
def test_whatever_stops_the_start_is_one_sentence(
    vllm: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fails(**arguments: Any) -> None:
        raise error

    monkeypatch.setattr(sys.modules["vllm"], "LLM", fails, raising=False)
    with pytest.raises(UserError) as refused:
        judged(tmp_path, 1, ["m"])
    assert "'m'" in str(refused.value) and "\n" not in str(refused.value)


def test_the_reason_of_a_refused_configuration_and_what_to_do_about_memory(
    vllm: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(**arguments: Any) -> None:
        raise ValueError(PYDANTIC)

    monkeypatch.setattr(sys.modules["vllm"], "LLM", fails, raising=False)
    with pytest.raises(UserError) as refused:
        judged(tmp_path, 1, ["m"])
    said = str(refused.value)
    assert said.startswith("vLLM could not start 'm': To serve at least one request") and "validation error" not in said
    assert "(9.4 GiB). If memory is missing: set a smaller max_num_batched_tokens, enforce_eager = true" in said


def test_requests_that_a_dying_engine_fails_are_no_replies(vllm: Recorder, tmp_path: Path) -> None:
    """Failures after its last answer say nothing about the questions; those before it do."""

    def fails(asked: Any) -> tuple[str, str]:
        if vllm.steps == 4:
            raise EngineDeadError
        return ("", "abort") if vllm.steps in (1, 3) else (RIGHT, "stop")

    vllm.say = fails
    kept: list[Reply] = []
    (judge,) = make_panel("vllm", Wanted("vit", ({"name": "m"},))).judges
    with pytest.raises(UserError, match="died"), judge:
        ask(judge, questions(16), prompt_for("plain"), Album(Squares(), tmp_path), kept.extend)
    # 8 in the first step, 4 in the second, 2 in the third.
    assert [reply.came for reply in kept] == [False] * 8 + [True] * 4
