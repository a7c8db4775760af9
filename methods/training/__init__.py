"""Training of methods: settings, normalisation, batches, the loop, checkpoints, sparse products."""

from __future__ import annotations

from methods.training.config import TrainingConfig

__all__ = ["TrainingConfig"]
