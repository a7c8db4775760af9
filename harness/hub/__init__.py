"""Fitted methods as repositories of the Hugging Face Hub: weights, configuration and model card of one cell."""

from __future__ import annotations

from harness.hub.push import Pushed, push

__all__ = ["Pushed", "push"]
