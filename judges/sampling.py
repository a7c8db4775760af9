"""Sampling settings of language-model judges, the cost of a call, and the paper's three models."""

from __future__ import annotations

from typing import Any, NamedTuple

from judges.base import CallEstimate, Question
from judges.grids import GRID_PX
from judges.prompt import Prompt

#: Qwen3-VL, Gemma 3 and InternVL3 (App. B.1). InternVL3 in the format that needs no code from the model's repository.
PAPER_MODELS = ("Qwen/Qwen3-VL-30B-A3B-Instruct", "google/gemma-3-27b-it", "OpenGVLab/InternVL3-14B-hf")

MAX_TOKENS = 256
SEED = 42
#: Greedy answers are the same each time, so a repeated question is sampled at a low temperature, with its own seed.
RETRY_TEMPERATURE = 0.3


class Sampling(NamedTuple):
    """Sampling settings of one reply."""

    temperature: float
    max_tokens: int
    seed: int


def sampling_of(question: Question) -> Sampling:
    """Return the sampling settings: greedy, 256 tokens, seed 42.

    A repeated question is sampled at a low temperature, with twice the tokens if it was cut off.
    """
    if question.attempt == 1:
        return Sampling(0.0, MAX_TOKENS, SEED)
    return Sampling(RETRY_TEMPERATURE, 2 * MAX_TOKENS if question.cut_off else MAX_TOKENS, SEED + question.attempt - 1)


def settings(model: str) -> dict[str, Any]:
    """Return the settings that are part of a judge's identity."""
    return {
        "model": model,
        "max_tokens": MAX_TOKENS,
        "seed": SEED,
        "temperature": 0.0,
        "retry_temperature": RETRY_TEMPERATURE,
    }


# Tokens of one grid, by a part of the model's name. Qwen: one per 32 x 32 px. Gemma 3: always 256. InternVL: 256 for
# each 448 px tile, 3 x 3 of them and one overview.
_GRID_TOKENS = (("qwen", (GRID_PX // 32) ** 2), ("gemma-3", 256), ("internvl", 10 * 256))


def estimate(model: str, prompt: Prompt) -> CallEstimate:
    """Return the approximate cost of a call: two grids and the prompt, and a reply of half the allowed length."""
    grid = next((tokens for part, tokens in _GRID_TOKENS if part in model.lower()), 1000)
    return CallEstimate(2 * grid + len(prompt.text) // 4, MAX_TOKENS // 2)
