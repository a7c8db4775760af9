"""Rates of a machine, from which the time of a suite is estimated: assumed ones of an H100, and measured ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

MEASURED, ASSUMED = "measured here", "arithmetic at assumed H100 rates"

#: Methods whose training step is measured; another trained method has the rate of the first.
TRAINED = (
    *("topk_sae", "batchtopk_sae", "matryoshka_sae", "jumprelu_sae", "vanilla_sae", "archetypal_sae"),
    *("matching_pursuit_sae", "frozen_decoder_sae", "transcoder"),
)


class Rate(NamedTuple):
    """Rate, with its source."""

    value: float
    unit: str
    source: str = ASSUMED
    size: str = ""
    """size at which it was measured; empty for an assumed rate"""
    spread: float | None = None
    """difference of the two repetitions, relative to their mean; None for an assumed rate"""


class Rates:
    """Rates by name; those that were not measured are the assumed ones.

    Args:
        measured: name -> rate, of a calibration.
        overlapping: True if images are decoded while the network runs on another device.
    """

    def __init__(self, measured: Mapping[str, Rate] | None = None, *, overlapping: bool = True) -> None:
        self.measured = dict(measured or {})
        self.overlapping = overlapping

    def __getitem__(self, name: str) -> Rate:
        if name in self.measured:
            return self.measured[name]
        if name.startswith("training ") and "training topk_sae" in self.measured:
            return self.measured["training topk_sae"]
        if name.startswith("training "):
            return DEFAULTS["training"]
        return DEFAULTS[name]

    @property
    def calibrated(self) -> bool:
        return bool(self.measured)


#: As in the specification of a GPU, a multiply-add is two FLOPs. All counts follow this convention.
DEFAULTS: dict[str, Rate] = {
    # 16 cores.
    "decode": Rate(2500.0, "images/s"),
    "crops": Rate(10_000.0, "crops/s"),
    # float32 with TF32 off, as networks run; bfloat16 training; split-precision clustering products.
    **{f"network {name}": Rate(35e12, "FLOP/s") for name in ("vit_small", "vit_base", "cnn")},
    "float32 products": Rate(35e12, "FLOP/s"),
    "training": Rate(150e12, "FLOP/s"),
    "clustering": Rate(150e12, "FLOP/s"),
    # About 30 passes over the codes at 2.4 TB/s.
    "codes": Rate(2e10, "codes/s"),
    "cells": Rate(1.0, "cells/s"),
    "disk write": Rate(1e9, "bytes/s"),
    "disk read": Rate(2e9, "bytes/s"),
}
