"""Sparse autoencoders, one family per file, and the public base of families of your own (docs/own_sae.md).

The names of :data:`__all__` are imported from here when they are first used: importing this package imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from methods import register
    from methods.base import MethodSpec, Tokens
    from methods.number_types import Real, Whole
    from methods.sae.autoencoder import Codes, LinearAutoencoder
    from methods.sae.config import FixedL0Config, SAEConfig
    from methods.sae.library import Start
    from methods.sae.method import ActivationForm, LinearSAE, SparseMethod
    from methods.training.batches import Batches
    from methods.training.entries import SelectedCodes, entries_from
    from methods.training.loop import StepLoss, Trainee
    from methods.training.normaliser import Normaliser

__all__ = [
    "ActivationForm",
    "Batches",
    "Codes",
    "FixedL0Config",
    "LinearAutoencoder",
    "LinearSAE",
    "MethodSpec",
    "Normaliser",
    "Real",
    "SAEConfig",
    "SelectedCodes",
    "SparseMethod",
    "Start",
    "StepLoss",
    "Tokens",
    "Trainee",
    "Whole",
    "entries_from",
    "register",
]

#: Name -> module that defines it.
_MODULES = {
    "register": "methods",
    **dict.fromkeys(("MethodSpec", "Tokens"), "methods.base"),
    **dict.fromkeys(("Real", "Whole"), "methods.number_types"),
    **dict.fromkeys(("Codes", "LinearAutoencoder"), "methods.sae.autoencoder"),
    **dict.fromkeys(("FixedL0Config", "SAEConfig"), "methods.sae.config"),
    "Start": "methods.sae.library",
    **dict.fromkeys(("ActivationForm", "LinearSAE", "SparseMethod"), "methods.sae.method"),
    "Batches": "methods.training.batches",
    **dict.fromkeys(("SelectedCodes", "entries_from"), "methods.training.entries"),
    **dict.fromkeys(("StepLoss", "Trainee"), "methods.training.loop"),
    "Normaliser": "methods.training.normaliser",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
