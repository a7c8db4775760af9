"""What is here and what is not, with the command that brings it; and whether a suite can run to its end."""

from __future__ import annotations

from pathlib import Path

from harness.doctor.base import Check, Need, grouped
from harness.doctor.environment import LOOKED_FOR, OPTIONAL, REQUIRED, gpu, looked_for, package, python
from harness.doctor.estimate import Estimate, estimate
from harness.doctor.place import disk, store_at
from harness.doctor.shipped import packaged_weights, photographs
from harness.doctor.verdict import Able, Examined, check, examine_suite, require

__all__ = [
    "Able",
    "Check",
    "Estimate",
    "Examined",
    "Need",
    "check",
    "estimate",
    "examine",
    "examine_suite",
    "grouped",
    "require",
]


def examine(store: Path) -> list[Check]:
    """Look at Python, packages, weights, images, devices, and the place where results go."""
    return [
        python(),
        *(package(name, module) for name, module in REQUIRED),
        *(package(name, module, needed=False, remedy=remedy) for name, module, remedy in OPTIONAL),
        *(looked_for(name, module, remedy) for name, module, remedy in LOOKED_FOR),
        *packaged_weights(),
        photographs(),
        gpu(),
        store_at(store),
        disk(store),
    ]
