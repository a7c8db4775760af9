"""The ``vllm`` panel against a stand-in that accepts what the real package accepts, and nothing else."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from paths import FIXTURES
from PIL import Image

from judges.base import Question, Reply
from judges.grids import Album, Grid, Tile
from judges.panel import Wanted, ask, make_panel
from judges.prompt import PROMPT, REPLY_SCHEMA, prompt_for
from methods.errors import UserError

pytestmark = pytest.mark.run

FIXTURES = FIXTURES
SIGNATURES = json.loads((FIXTURES / "vllm_signatures.json").read_text(encoding="utf-8"))
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
        self.chats: list[list[Any]] = []
        self.sampled: list[dict[str, Any]] = []
        self.alive = 0
        self.cleaned = 0
        self.say = lambda prompt: (RIGHT, "stop")

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
                self.llm_engine = SimpleNamespace(engine_core=SimpleNamespace(shutdown=shutdown))

            def chat(self, messages: list[Any], **arguments: Any) -> list[Any]:
                accepted("LLM.chat", arguments)
                assert len(arguments["sampling_params"]) == len(messages)
                recorder.chats.append(messages)
                outputs = []
                for message, sampling in zip(messages, arguments["sampling_params"], strict=True):
                    text, reason = recorder.say((message, sampling))
                    completion = SimpleNamespace(text=text, finish_reason=reason, token_ids=[1, 2, 3])
                    outputs.append(SimpleNamespace(outputs=[completion], prompt_token_ids=[0] * 5))
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


def judged(folder: Path, count: int, models: Sequence[str] = (), **options: Any) -> list[Reply]:
    panel = make_panel("vllm", Wanted("vit", tuple({"name": model} for model in models), options))
    kept: list[Reply] = []
    for judge in panel.judges:
        with judge:
            ask(judge, questions(count), prompt_for("plain"), Album(Squares(), folder), kept.extend)
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
            "limit_mm_per_prompt": {"image": 2},
            "seed": 42,
        }
    assert vllm.alive == 0 and vllm.cleaned == 3
    assert len(kept) == 6 and all(reply.verdict.answer == "B" for reply in kept)
    assert vllm.sampled[0] == {
        "temperature": 0.0,
        "max_tokens": 256,
        "seed": 42,
        "structured_outputs": {"json": REPLY_SCHEMA},
    }
    assert kept[0].prompt_tokens == 5 and kept[0].completion_tokens == 3
    content = vllm.chats[0][0][0]["content"]
    assert [part["type"] for part in content] == ["image_pil", "image_pil", "text"] and content[2]["text"] == PROMPT
    assert content[0]["image_pil"].size == (1008, 1008)


def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show a placeholder, since drawing hundreds of grids takes long."""
    monkeypatch.setattr("judges.panels.vllm._picture", lambda grid, album: Image.new("RGB", (1, 1)))


def test_batches_of_64_are_kept_as_they_come(vllm: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_pictures(monkeypatch)
    assert len(judged(tmp_path, 130, ["m"])) == 130
    assert [len(chat) for chat in vllm.chats] == [64, 64, 2]


def test_a_cut_off_reply_gets_more_room_and_another_seed(vllm: Recorder, tmp_path: Path) -> None:
    vllm.say = lambda asked: (RIGHT, "stop") if asked[1]["max_tokens"] > 256 else ('{"reasoning_a": "', "length")
    kept = judged(tmp_path, 1, ["m"])
    assert [(reply.attempt, reply.verdict.answer) for reply in kept] == [(1, None), (2, "B")]
    assert (vllm.sampled[1]["max_tokens"], vllm.sampled[1]["seed"]) == (512, 43)


def test_one_refused_prompt_does_not_fail_its_batch(vllm: Recorder, tmp_path: Path) -> None:
    def say(asked: Any) -> tuple[str, str]:
        if asked[0][0]["content"][0]["image_pil"].getpixel((0, 0))[0] in range(56, 65):
            raise ValueError("the prompt is too long\nwith details")
        return RIGHT, "stop"

    vllm.say = say
    kept = judged(tmp_path, 6, ["m"])
    assert [reply.came for reply in kept] == [True] * 3 + [False] + [True] * 2
    assert kept[3].finish_reason == "error: the prompt is too long"


def test_a_dead_engine_is_not_asked_thousands_of_questions(
    vllm: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_pictures(monkeypatch)

    def dead(asked: Any) -> tuple[str, str]:
        if len(vllm.chats) > 1:
            raise RuntimeError("CUDA error: out of memory")
        return RIGHT, "stop"

    vllm.say = dead
    with pytest.raises(UserError, match="'m' gave no reply to 64 questions in a row"):
        judged(tmp_path, 640, ["m"])
    # A batch that was answered, one that was refused, and each of that alone.
    assert len(vllm.chats) == 1 + 1 + 64 and vllm.alive == 0


class VLLMValidationError(Exception):
    """As in vllm.exceptions: derives from no other exception than Exception."""


class EngineDeadError(Exception):
    """As in vllm.v1.engine.exceptions."""


def test_a_prompt_refused_by_an_error_of_vllm_is_that_reply_alone(vllm: Recorder, tmp_path: Path) -> None:
    def say(asked: Any) -> tuple[str, str]:
        if asked[0][0]["content"][0]["image_pil"].getpixel((0, 0))[0] in range(56, 65):
            raise VLLMValidationError("too many image tokens")
        return RIGHT, "stop"

    vllm.say = say
    kept = judged(tmp_path, 6, ["m"])
    assert [reply.came for reply in kept] == [True] * 3 + [False] + [True] * 2
    assert kept[3].finish_reason == "error: too many image tokens"


@pytest.mark.parametrize("alone", [False, True])
def test_a_dead_engine_ends_the_asking_at_once(
    vllm: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    without_pictures(monkeypatch)
    monkeypatch.setattr("judges.panels.vllm.BATCH", 4)
    kept: list[Reply] = []

    def say(asked: Any) -> tuple[str, str]:
        if len(vllm.chats) == 1 and alone:
            raise VLLMValidationError("one prompt is refused, so each is asked alone")
        if len(vllm.chats) > 3:
            raise EngineDeadError("EngineCore encountered an issue.")
        return RIGHT, "stop"

    vllm.say = say
    (judge,) = make_panel("vllm", Wanted("vit", ({"name": "m"},))).judges
    with pytest.raises(UserError, match=r"The vLLM engine of 'm' died.*replies that came before are stored"), judge:
        ask(judge, questions(40), prompt_for("plain"), Album(Squares(), tmp_path), kept.extend)
    assert len(vllm.chats) == 4 and vllm.alive == 0 and len(kept) == (2 if alone else 3 * 4)


def test_any_error_at_the_start_is_explained(vllm: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(**arguments: Any) -> None:
        raise EngineDeadError

    monkeypatch.setattr(sys.modules["vllm"], "LLM", fails, raising=False)
    with pytest.raises(UserError, match="vLLM could not start 'm': EngineDeadError"):
        judged(tmp_path, 1, ["m"])


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
