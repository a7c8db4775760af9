"""Interface of a scorer: it says how well each concept describes each unit, from the unit's activations on images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from harness.datasets.base import ImageSet
from harness.errors import UserError
from harness.steering import soft_wpmi
from methods.base import Progress, no_progress
from methods.setting_problems import problems_of, quoted, reason


class Scored(NamedTuple):
    """Scores of concepts for units, and their null."""

    concepts: tuple[str, ...]
    scores: Tensor
    """(n_units, n_concepts); larger is better; not finite: no score"""
    null: Tensor
    """(n_draws, n_units) best score of each unit when the images are permuted; NaN: unknown"""


class Images(NamedTuple):
    """Images on which units are labelled."""

    images: ImageSet
    readable: np.ndarray
    """(n,) int64: those that could be read, ascending; row i of the activations is of image ``readable[i]``"""
    device: str
    cache: Path | None = None
    """folder of decoded crops; None: images are decoded"""


class ScorerSettings(BaseModel):
    """Settings of every scorer. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    draws: int = Field(200, ge=20, le=100_000, description="permutations of the images for the null")
    tables: int = Field(
        10, ge=0, le=1000, description="permutations of the images of all units together, for the share by chance"
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="random seed of the permutations")


class Scorer(ABC):
    """Scorer of concepts. A plugin subclasses it and registers the class with ``SCORERS.register()``.

    Args:
        settings: values of :attr:`Settings`.

    Raises:
        UserError: for an unknown or invalid setting.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    """Raise it when a fix changes the scores."""
    description: ClassVar[str] = ""
    Settings: ClassVar[type[ScorerSettings]] = ScorerSettings

    def __init__(self, settings: Mapping[str, Any]) -> None:
        try:
            self.settings: Any = self.Settings(**settings)
        except (ValidationError, TypeError) as error:
            raise UserError(_sentence(self.name, self.Settings, error)) from error

    @abstractmethod
    def identity(self, images: ImageSet) -> dict[str, Any]:
        """Return everything that the scores depend on beside the activations, as JSON: networks, concepts, settings.

        Raises:
            UserError: if the scorer cannot be used with these images.
        """

    @abstractmethod
    def score(self, activations: Tensor, images: Images, *, progress: Progress = no_progress) -> Scored:
        """Score the concepts for the units with the activations (n, n_units) on n images."""


class ProbabilitySettings(ScorerSettings):
    """Settings of a scorer that gives probabilities of concepts."""

    top_k: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="images per unit; default: a tenth of the images, from 10 to 100, as the paper's 100 of 50,000",
    )
    lam: float = Field(1.0, ge=0, le=10, description="weight of how common a concept is")


class ProbabilityScorer(Scorer):
    """Scorer by soft-WPMI of the probability of each concept given each image."""

    Settings = ProbabilitySettings
    _last: tuple[tuple[str, bytes], tuple[tuple[str, ...], Tensor]] | None = None

    @abstractmethod
    def probabilities(self, images: Images, progress: Progress) -> tuple[tuple[str, ...], Tensor]:
        """Return the concepts, and their probabilities (n, n_concepts) float32 on the CPU; rows sum to 1."""

    def images_per_unit(self, n: int) -> int:
        """Return the number of images per unit, of n."""
        return min(n, self.settings.top_k or min(100, max(10, n // 10)))

    def score(self, activations: Tensor, images: Images, *, progress: Progress = no_progress) -> Scored:
        """Score the concepts by soft-WPMI."""
        key = images.images.fingerprint, images.readable.tobytes()
        if self._last is None or self._last[0] != key:
            # The cells of one layer are labelled on the same images.
            self._last = key, self.probabilities(images, progress)
        concepts, probabilities = self._last[1]
        top_k = self.images_per_unit(len(images.readable))
        result = soft_wpmi.soft_wpmi(probabilities, activations, top_k=top_k, lam=self.settings.lam)
        null = soft_wpmi.null_of_best(
            probabilities, result, top_k=top_k, n_draws=self.settings.draws, seed=self.settings.seed
        )
        of_units = null[:, (result.n_images - 1).clamp(min=0)].masked_fill(result.n_images == 0, torch.nan)
        return Scored(concepts, result.scores, of_units)


def _sentence(name: str, settings: type[ScorerSettings], error: ValidationError | TypeError) -> str:
    if isinstance(error, TypeError):
        return f"The settings of the scorer {name} must be names with values."
    parts = []
    for problem in problems_of(error):
        where = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            parts.append(f"The scorer {name} has no setting {where!r}; it has {', '.join(settings.model_fields)}.")
        else:
            parts.append(f"{where} = {quoted(problem.get('input'))} of the scorer {name}: {reason(problem)}.")
    return " ".join(parts)
