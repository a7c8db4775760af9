"""Steering: concept labels of units, interventions on units, and their effect on what the model says."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.steering.labelling import LabelledCell, label_units
    from harness.steering.steered import Steered, SteerSettings
    from harness.steering.steering import steer
    from harness.steering.steering_scores import SteeringScore, score_steering

__all__ = ["LabelledCell", "SteerSettings", "Steered", "SteeringScore", "label_units", "score_steering", "steer"]

_MODULES = {
    **dict.fromkeys(("LabelledCell", "label_units"), "labelling"),
    **dict.fromkeys(("SteerSettings", "Steered"), "steered"),
    "steer": "steering",
    **dict.fromkeys(("SteeringScore", "score_steering"), "steering_scores"),
}


def __getattr__(name: str) -> Any:
    # torch and the networks take seconds to import.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"harness.steering.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
