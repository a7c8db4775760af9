"""Optimisation settings of all trained methods."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from methods.base import MethodConfig


class TrainingConfig(MethodConfig):
    """Optimisation settings; the defaults follow the paper (App. E.1)."""

    model_config = ConfigDict(allow_inf_nan=False)

    epochs: int = Field(50, ge=1, description="passes over the probing tokens")
    batch_size: int = Field(4096, ge=1, description="tokens per step")
    learning_rate: float = Field(5e-4, gt=0, description="largest learning rate of Adam")
    warmup_fraction: float = Field(0.05, ge=0, lt=1, description="share of the steps with rising learning rate")
    clip_norm: float = Field(1.0, gt=0, description="largest gradient norm")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="precision of matrix products in training; auto: bfloat16 on a GPU, float32 on a CPU"
    )
