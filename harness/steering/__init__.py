"""Steering: concept labels of units, interventions on units, and their effect on what the model says."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.steering.labelling import LabelledCell, label_units

__all__ = ["LabelledCell", "label_units"]

_MODULES = {"LabelledCell": "labelling", "label_units": "labelling"}


def __getattr__(name: str) -> Any:
    # torch and the networks take seconds to import.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"harness.steering.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
