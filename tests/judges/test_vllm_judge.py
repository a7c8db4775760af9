"""The ``vllm`` panel against a stand-in that accepts what the real package accepts, and nothing else."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from paths import FIXTURES
from PIL import Image

from judges.base import Judge, Question, Reply
from judges.concepts import DETECT, EXPLAIN
from judges.grids import Album, Grid, Tile
from judges.panel import Wanted, ask, make_panel
from judges.panels.vllm import ENVIRONMENT
from judges.parsing import MAX_CONCEPT_CHARS
from judges.prompt import PROMPT, REPLY_SCHEMA, prompt_for, reply_schema
from methods.errors import UserError

pytestmark = pytest.mark.run

FIXTURES = FIXTURES
SIGNATURES = json.loads((FIXTURES / "vllm_signatures.json").read_text(encoding="utf-8"))
YES = '{"answer": "yes"}'
RIGHT = '{"reasoning_a": "x", "reasoning_b": "y", "answer": "B"}'


def accepted(what: str, given: dict[str, Any]) -> dict[str, Any]:
    strange = set(given) - set(SIGNATURES[what])
    if strange:
        raise TypeError(f"{what} got unexpected arguments {strange}")
    return given


class Recorder:
    """A stand-in for the package, with what it was asked."""

    def __init__(self) -> None:
        self.engines: list[dict[str, Any]] = []
        self.asked: list[Any] = []
        self.most = self.steps = 0
        self.sampled: list[dict[str, Any]] = []
        self.alive = 0
        self.cleaned = 0
        self.say: Callable[[Any], tuple[str, str]] = lambda prompt: (RIGHT, "stop")
        """reply to a message and its sampling settings"""
        self.refuse: Callable[[Any], None] = lambda prompt: None
        """what happens when a message is given to the engine"""

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        recorder = self

        def shutdown(timeout: float | None = None) -> None:
            recorder.alive -= 1

        class LLM:
            def __init__(self, **arguments: Any) -> None:
                if recorder.alive:
                    raise RuntimeError("the GPU is full")
                recorder.engines.append(accepted("LLM", arguments))
                recorder.alive += 1
                core = SimpleNamespace(shutdown=shutdown)
                self.llm_engine = SimpleNamespace(
                    engine_core=core, step=self.step, has_unfinished_requests=self.has_unfinished_requests
                )
                self.waiting: list[tuple[str, Any, Any]] = []

            def enqueue_chat(self, messages: list[Any], **arguments: Any) -> list[str]:
                accepted("LLM.enqueue_chat", arguments)
                [message], [sampling] = messages, arguments["sampling_params"]
                recorder.refuse((message, sampling))
                recorder.asked.append(message)
                request = str(len(recorder.asked))
                self.waiting.append((request, message, sampling))
                recorder.most = max(recorder.most, len(self.waiting))
                return [f"{request}-1a2b3c4d"]

            def has_unfinished_requests(self) -> bool:
                return bool(self.waiting)

            def step(self) -> list[Any]:
                recorder.steps += 1
                # The last of the waiting is ready first, and only half are; one is still being written.
                ready = [self.waiting.pop() for _ in range((len(self.waiting) + 1) // 2)]
                outputs = [SimpleNamespace(finished=False, request_id="1", outputs=[], prompt_token_ids=[])]
                for request, message, sampling in ready:
                    text, reason = recorder.say((message, sampling))
                    completion = SimpleNamespace(text=text, finish_reason=reason, token_ids=[1, 2, 3])
                    outputs.append(
                        SimpleNamespace(
                            finished=True, request_id=request, outputs=[completion], prompt_token_ids=[0] * 5
                        )
                    )
                return outputs

        def clean() -> None:
            recorder.cleaned += 1

        def sampling_params(**given: Any) -> dict[str, Any]:
            recorder.sampled.append(accepted("SamplingParams", given))
            return given

        modules = {
            "vllm": {"LLM": LLM, "SamplingParams": sampling_params},
            "vllm.sampling_params": {
                "StructuredOutputsParams": lambda **given: accepted("StructuredOutputsParams", given)
            },
            "vllm.distributed": {},
            "vllm.distributed.parallel_state": {"cleanup_dist_env_and_memory": clean},
        }
        for name, attributes in modules.items():
            module = ModuleType(name)
            module.__dict__.update(attributes)
            monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    recorder.install(monkeypatch)
    return recorder


class Squares:
    def open(self, index: int) -> Image.Image:
        return Image.new("RGB", (40, 40), (20 * index % 256, 0, 0))


def questions(count: int) -> list[Question]:
    return [Question(Grid((Tile(f"a{i}", i),)), Grid((Tile("b", 255),))) for i in range(count)]


def judged(
    folder: Path, count: int, models: Sequence[str] = (), protocol: str = "default", **options: Any
) -> list[Reply]:
    panel = make_panel("vllm", Wanted("vit", tuple({"name": model} for model in models), options))
    kept: list[Reply] = []
    for judge in panel.judges:
        with judge:
            ask(judge, questions(count), prompt_for("plain", protocol), Album(Squares(), folder), kept.extend)
    return kept


def test_the_papers_three_models_with_its_settings_one_after_another(vllm: Recorder, tmp_path: Path) -> None:
    kept = judged(tmp_path, 2)
    assert [engine["model"] for engine in vllm.engines] == [
        "Qwen/Qwen3-VL-30B-A3B-Instruct",
        "google/gemma-3-27b-it",
        "OpenGVLab/InternVL3-14B-hf",
    ]
    for engine in vllm.engines:
        assert {key: engine[key] for key in engine if key != "model"} == {
            "tensor_parallel_size": 1,
            "max_model_len": 32768,
            "max_num_seqs": 64,
            "max_num_batched_tokens": 8192,
            "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
            "limit_mm_per_prompt": {"image": 2},
            "seed": 42,
        }
    assert vllm.alive == 0 and vllm.cleaned == 3
    assert len(kept) == 6 and all(reply.verdict.answer == "B" for reply in kept)
    assert vllm.sampled[0] == {
        "temperature": 0.0,
        "max_tokens": 256,
        "seed": 42,
        "structured_outputs": {"json": reply_schema(400)},
    }
    assert reply_schema(400)["properties"]["reasoning_b"] == {"type": "string", "maxLength": 400}
    assert reply_schema(400)["properties"]["answer"] == REPLY_SCHEMA["properties"]["answer"]
    assert kept[0].prompt_tokens == 5 and kept[0].completion_tokens == 3
    content = vllm.asked[0][0]["content"]
    assert [part["type"] for part in content] == ["image_pil", "image_pil", "text"] and content[2]["text"] == PROMPT
    assert content[0]["image_pil"].size == (1008, 1008)


def test_the_papers_protocol_is_free_text_that_is_never_repeated(vllm: Recorder, tmp_path: Path) -> None:
    vllm.say = lambda asked: ("Both grids show dogs.", "stop")
    kept = judged(tmp_path, 2, ["m"], protocol="paper")
    assert [(reply.key.prompt_version, reply.attempt, reply.verdict.valid) for reply in kept] == [
        ("paper-1", 1, False)
    ] * 2
    assert vllm.sampled == [{"temperature": 0.0, "max_tokens": 256, "seed": 42}] * 2
    vllm.say = lambda asked: (f"Sure!\n{RIGHT}", "stop")
    assert [reply.verdict.answer for reply in judged(tmp_path, 2, ["m"], protocol="paper")] == ["B", "B"]


def test_concepts_are_named_and_detected_with_schemas_of_their_own(vllm: Recorder, tmp_path: Path) -> None:
    vllm.say = lambda asked: (
        '{"concept": "dogs"}' if "Name the" in asked[0][0]["content"][-1]["text"] else YES,
        "stop",
    )
    (judge,) = make_panel("vllm", Wanted("vit", ({"name": "m"},))).judges
    album = Album(Squares(), tmp_path)
    single = Grid((Tile("a", 0),), side=1)
    kept: list[Reply] = []
    with judge:
        ask(judge, [Question(Grid((Tile("a", 0),)))], EXPLAIN, album, kept.extend)
        ask(judge, [Question(single, concept="dogs"), Question(single, concept="cats")], DETECT, album, kept.extend)
    assert [EXPLAIN.read(kept[0].text).answer, DETECT.read(kept[1].text).answer] == ["dogs", "yes"]
    assert len({reply.key for reply in kept}) == 3 and {reply.attempt for reply in kept} == {1}
    schemas = [sampled["structured_outputs"]["json"] for sampled in vllm.sampled]
    assert schemas == [reply_schema(MAX_CONCEPT_CHARS, EXPLAIN.schema), DETECT.schema, DETECT.schema]
    contents = [message[0]["content"] for message in vllm.asked]
    assert [part["type"] for part in contents[0]] == [part["type"] for part in contents[1]] == ["image_pil", "text"]
    assert [content[0]["image_pil"].size for content in contents] == [(1008, 1008), (336, 336), (336, 336)]
    assert 'Concept: "cats"' in contents[2][1]["text"]


def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show a placeholder, since drawing hundreds of grids takes long."""
    monkeypatch.setattr("judges.panels.vllm._picture", lambda grid, album: Image.new("RGB", (1, 1)))


def test_replies_are_kept_as_they_come_and_the_engine_is_never_idle(
    vllm: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_pictures(monkeypatch)
    kept = judged(tmp_path, 500, ["m"])
    assert len(kept) == len({reply.key for reply in kept}) == 500
    # 128 at a time, and half of them come in each step: more than the 64 that are computed at a time are always there.
    assert vllm.most == 128 and vllm.steps <= 14
    assert all(reply.seconds is not None and reply.seconds >= 0 for reply in kept)


def test_a_cut_off_reply_gets_more_room_and_another_seed(vllm: Recorder, tmp_path: Path) -> None:
    vllm.say = lambda asked: (RIGHT, "stop") if asked[1]["max_tokens"] > 256 else ('{"reasoning_a": "', "length")
    kept = judged(tmp_path, 1, ["m"])
    assert [(reply.attempt, reply.verdict.answer) for reply in kept] == [(1, None), (2, "B")]
    assert (vllm.sampled[1]["max_tokens"], vllm.sampled[1]["seed"]) == (512, 43)


class VLLMError(Exception):
    """As in vllm.exceptions: derives from no other exception than Exception."""


class VLLMValidationError(VLLMError):
    """As in vllm.exceptions."""


class EngineDeadError(VLLMError):
    """As in vllm.v1.engine.exceptions."""


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


def test_messages_of_vllm_go_to_stderr_and_nothing_to_its_authors(vllm: Recorder, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in ENVIRONMENT:
            patch.delenv(name, raising=False)
        patch.setenv("VLLM_LOGGING_STREAM", "ext://sys.stdout")
        judged(tmp_path, 1, ["m"])
        assert os.environ["VLLM_LOGGING_STREAM"] == "ext://sys.stdout", "what the user sets stays"
        assert os.environ["VLLM_NO_USAGE_STATS"] == os.environ["VLLM_DO_NOT_TRACK"] == "1"


@pytest.mark.parametrize("used", [False, True])
def test_cached_memory_of_the_gpu_is_released_before_a_model_starts(
    vllm: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: bool
) -> None:
    released: list[int] = []
    importlib.import_module("torch")
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: used)
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: released.append(len(vllm.engines)))
    judged(tmp_path, 1, ["m", "n", "o"])
    assert released == ([0, 1, 2] if used else [])


def test_options_of_the_engine_and_which_make_another_judge(vllm: Recorder, tmp_path: Path) -> None:
    def judge_of(**options: Any) -> Judge:
        (judge,) = make_panel("vllm", Wanted("vit", ({"name": "m"},), options)).judges
        return judge

    plain = judge_of()
    assert plain.settings()["reason_chars"] == 400
    assert plain.settings()["structured_outputs_config"] == {"backend": "xgrammar", "disable_any_whitespace": True}
    memory = {"max_num_batched_tokens": 2048, "enforce_eager": True, "kv_cache_memory_bytes": 2**30}
    assert judge_of(**memory, limit_mm_per_prompt={"image": {"count": 2, "width": 1008, "height": 1008}}).id == plain.id
    for other in ({"mm_processor_kwargs": {"max_pixels": 99}}, {"structured_outputs_config": {"backend": "guidance"}}):
        assert judge_of(**other).id != plain.id
    judged(tmp_path, 1, ["m"], **memory, generation_config="vllm")
    assert {key: vllm.engines[0][key] for key in memory} == memory and vllm.engines[0]["generation_config"] == "vllm"
    with pytest.raises(UserError, match="max_num_batched_tokens"):
        judge_of(max_num_batched_tokens=0)


def test_what_cannot_be_is_explained(vllm: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="has no option 'temperature'"):
        judged(tmp_path, 1, ["m"], temperature=1)
    vllm.alive = 1
    with pytest.raises(UserError, match="could not start 'm': the GPU is full"):
        judged(tmp_path, 1, ["m"])
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UserError, match=r"needs the package vllm"):
        judged(tmp_path, 1, ["m"])


def _python_with_vllm() -> str | None:
    named = os.environ.get("HARNESS_VLLM_PYTHON")
    return named or (sys.executable if importlib.util.find_spec("vllm") else None)


@pytest.mark.slow
def test_the_signatures_are_those_of_the_installed_package() -> None:
    python = _python_with_vllm()
    if python is None:
        pytest.skip("vllm is not installed; name a Python that has it in HARNESS_VLLM_PYTHON")
    script = str(FIXTURES / "make_vllm_signatures.py")
    found = json.loads(subprocess.run([python, script], capture_output=True, text=True, check=True).stdout)
    for name in SIGNATURES:
        if name != "version":
            # Newer versions may add; what is relied on must be there.
            assert set(SIGNATURES[name]) <= set(found[name]), name
