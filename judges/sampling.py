"""Common parts of language-model judges: sampling settings, the cost of a call, and the paper's three models."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from typing import Any

from judges.base import CallEstimate, Judge, Question
from judges.grids import GRID_PX
from judges.panel import Wanted
from judges.prompt import Prompt
from methods.errors import UserError

#: Qwen3-VL, Gemma 3 and InternVL3 (App. B.1). InternVL3 in the format that needs no code from the model's repository.
PAPER_MODELS = ("Qwen/Qwen3-VL-30B-A3B-Instruct", "google/gemma-3-27b-it", "OpenGVLab/InternVL3-14B-hf")

MAX_TOKENS = 256
SEED = 42
#: Greedy answers are the same each time, so a repeated question is sampled at a low temperature, with its own seed.
RETRY_TEMPERATURE = 0.3


def sampling_of(question: Question) -> dict[str, float]:
    """Return the sampling settings: greedy, 256 tokens, seed 42.

    A repeated question is sampled at a low temperature, with twice the tokens if it was cut off.
    """
    if question.attempt == 1:
        return {"temperature": 0.0, "max_tokens": MAX_TOKENS, "seed": SEED}
    tokens = 2 * MAX_TOKENS if question.cut_off else MAX_TOKENS
    return {"temperature": RETRY_TEMPERATURE, "max_tokens": tokens, "seed": SEED + question.attempt - 1}


def _picture_tokens(model: str, px: int) -> int:
    """Return the tokens of a square picture, by a part of the model's name.

    Qwen: one per 32 x 32 px, sides rounded to a multiple. Gemma 3: always 256. InternVL: 256 for each 448 px tile, and
    for one overview of several. Others: about 1000 for a grid.
    """
    name = model.lower()
    if "qwen" in name:
        return round(px / 32) ** 2
    if "gemma-3" in name:
        return 256
    if "internvl" in name:
        tiles = math.ceil(px / 448) ** 2
        return 256 * (tiles + (tiles > 1))
    return round(1000 * (px / GRID_PX) ** 2)


class LanguageModelJudge(Judge):
    """Vision-language model with the paper's sampling settings, named as its panel names it."""

    names_concepts = True

    def __init__(self, model: str) -> None:
        self.name = model

    def settings(self) -> dict[str, Any]:
        return {
            "model": self.name,
            "max_tokens": MAX_TOKENS,
            "seed": SEED,
            "temperature": 0.0,
            "retry_temperature": RETRY_TEMPERATURE,
        }

    def estimate(self, prompt: Prompt) -> CallEstimate:
        """Return the cost of the prompt with its pictures, and of a reply of the usual length."""
        pictures = sum(_picture_tokens(self.name, px) for px in prompt.picture_px)
        return CallEstimate(pictures + len(prompt.text) // 4, prompt.reply_tokens)


def requested_models(wanted: Wanted) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of each requested model, or of the paper's three, with its settings and those of the panel.

    Raises:
        UserError: an entry without a name.
    """
    for entry in wanted.judges or tuple({"name": model} for model in PAPER_MODELS):
        settings = {**wanted.options, **entry}
        name = settings.pop("name", None)
        if not isinstance(name, str) or not name:
            # The entry is not quoted, since it may contain a key.
            raise UserError("A judge of the panel has no name: set it to the name of the model.")
        yield name, settings


def optional_package(name: str, extra: str) -> Any:
    """Import a package of an extra of this project.

    Raises:
        UserError: the package is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"This panel needs the package {name}, which is not installed or does not run here. Install it: "
            f"pip install 'disentanglement-harness[{extra}]'."
        ) from error
