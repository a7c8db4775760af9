"""Stand-in for the package vllm that accepts what the real one accepts, and nothing else."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from paths import FIXTURES
from PIL import Image

from judges.base import Question, Reply
from judges.grids import Album, Grid, Tile
from judges.panel import Wanted, ask, make_panel
from judges.prompt import prompt_for

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


def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show a placeholder, since drawing hundreds of grids takes long."""
    monkeypatch.setattr("judges.panels.vllm._picture", lambda grid, album: Image.new("RGB", (1, 1)))


class VLLMError(Exception):
    """As in vllm.exceptions: derives from no other exception than Exception."""


class VLLMValidationError(VLLMError):
    """As in vllm.exceptions."""


class EngineDeadError(VLLMError):
    """As in vllm.v1.engine.exceptions."""
