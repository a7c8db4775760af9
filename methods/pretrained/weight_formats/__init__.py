"""Formats of trained dictionaries, one per file: a new one is a new file that registers a :class:`WeightsFormat`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from methods.registry import Registry

if TYPE_CHECKING:
    from methods.pretrained.weight_formats.base import WeightsFormat

__all__ = ["FORMATS"]

FORMATS: Registry[type[WeightsFormat]] = Registry(
    "format of weights", "harness.weight_formats", package="methods.pretrained.weight_formats"
)
