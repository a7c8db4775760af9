"""Optimisation settings of all trained methods."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from methods.base import MethodConfig
from methods.number_types import Real, Whole


class TrainingConfig(MethodConfig):
    """Optimisation settings; the defaults follow the paper (App. E.1)."""

    model_config = ConfigDict(allow_inf_nan=False)

    epochs: Whole = Field(50, ge=1, le=100_000, description="passes over the probing tokens")
    batch_size: Whole = Field(4096, ge=1, le=1_048_576, description="tokens per step")
    learning_rate: Real = Field(5e-4, ge=1e-12, le=100, description="largest learning rate of Adam")
    warmup_fraction: Real = Field(0.05, ge=0, lt=1, description="share of the steps with rising learning rate")
    clip_norm: Real = Field(1.0, ge=1e-12, le=1e9, description="largest gradient norm")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="precision of matrix products in training; auto: bfloat16 on a GPU, float32 on a CPU"
    )
