"""Stand-in for vLLM that other processes can import: replies at once, and notes what it sees in a folder."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

FOLDER = Path(os.environ["STUB_VLLM"])
REPLY = '{"reasoning_a": "x", "reasoning_b": "y", "answer": "B"}'


def note(**values: Any) -> None:
    """Add a line about this process."""
    line = {"process": os.getpid(), "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"), **values}
    with (FOLDER / "notes").open("a") as file:
        file.write(json.dumps(line) + "\n")


def SamplingParams(**settings: Any) -> dict[str, Any]:  # noqa: N802
    return settings


class LLM:
    """Engine of one model; the model "dies" ends its process at the third question."""

    def __init__(self, model: str, **arguments: Any) -> None:
        sys.stdout.write("INFO the stub starts\n")
        if model == "too large":
            raise ValueError("CUDA out of memory")
        self.model = model
        self.waiting: list[str] = []
        self.asked = 0
        note(model=model, started=True)
        self.llm_engine = SimpleNamespace(
            engine_core=SimpleNamespace(shutdown=self.shutdown),
            step=self.step,
            has_unfinished_requests=lambda: bool(self.waiting),
        )

    def shutdown(self) -> None:
        note(model=self.model, started=False)

    def enqueue_chat(self, messages: list[Any], **arguments: Any) -> list[str]:
        [[message]] = messages
        assert all(part["image_pil"].size == (1008, 1008) for part in message["content"][:2])
        self.asked += 1
        self.waiting.append(str(self.asked))
        return [f"{self.asked}-1a2b3c4d"]

    def step(self) -> list[Any]:
        if self.model == "dies" and self.asked - len(self.waiting) >= 2:
            os.abort()
        request = self.waiting.pop(0)
        completion = SimpleNamespace(text=REPLY, finish_reason="stop", token_ids=[1, 2, 3])
        return [SimpleNamespace(finished=True, request_id=request, outputs=[completion], prompt_token_ids=[0] * 5)]
