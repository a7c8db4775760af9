"""Base of the dictionaries of this package."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from methods.base import Tokens
from methods.linear_decoder import LinearDecoder
from methods.pretrained.trained_dictionary import TrainedConfig, TrainedDictionary
from methods.training.batches import generator_of


class LinearDictionary(LinearDecoder):
    """Linear dictionary of centred tokens: :attr:`output_bias` is the mean of the probing tokens."""

    fitted: ClassVar[tuple[str, ...]] = ("atoms", "output_bias")

    def with_encoder(self, weight: Tensor, config: TrainedConfig) -> TrainedDictionary:
        """Return the dictionary whose pre-codes are ``weight (x - output_bias)``, for weight (n_units, d_out)."""
        tensors = {"encoder_weight": weight, "encoder_bias": -weight @ self.output_bias}
        return TrainedDictionary.of(config, {**tensors, "atoms": self.atoms, "output_bias": self.output_bias})


def sample_tokens(tokens: Tokens, limit: int, seed: int) -> Tensor:
    """Return all outputs (n, d_out), or ``limit`` of them drawn with the seed if there are more."""
    drawn = torch.randperm(tokens.n, generator=generator_of("sampled tokens", seed))[:limit]
    return tokens.gather("output", np.sort(drawn.numpy()))


def skewness_signs(codes: Tensor) -> Tensor:
    """Return +1 or -1 for each column of codes (n, n_units), as (n_units,), such that its third moment is not negative.

    PCA and ICA do not determine the sign of a unit. With the heavy tail on the positive side, its largest activations
    are the most informative ones.
    """
    third = ((codes - codes.mean(0)) ** 3).mean(0)
    return torch.where(third < 0, -1.0, 1.0)
