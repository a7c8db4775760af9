"""Rates of a machine, from which the time of a suite is estimated: assumed ones of an H100, and measured ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

MEASURED, ASSUMED = "measured here", "arithmetic at assumed H100 rates"
#: Source of the rate of umap-learn, which uses no GPU.
ONE_THREAD = "measured on one CPU thread of another machine"

#: Trained methods whose codes are dense while they are trained; the others have the rate of a TopK SAE's steps, if
#: their own are not measured.
DENSE = ("vanilla_sae", "archetypal_sae", "transcoder")


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
        if not name.startswith("training "):
            return DEFAULTS[name]
        similar = "vanilla_sae" if name.removeprefix("training ") in DENSE else "topk_sae"
        return self.measured.get(f"training {similar}", DEFAULTS["training"])

    @property
    def calibrated(self) -> bool:
        return bool(self.measured)


def rate_text(rate: Rate) -> str:
    """Return a rate with three digits and its unit: "54.9 GFLOP/s", "435 MB/s", "216 images/s"."""
    if rate.unit not in ("FLOP/s", "bytes/s"):
        return f"{rate.value:.3g} {rate.unit}"
    exponent, prefix = max((entry for entry in _PREFIXES if rate.value >= 10 ** entry[0]), default=(0, ""))
    return f"{rate.value / 10**exponent:.3g} {prefix}{'B/s' if rate.unit == 'bytes/s' else rate.unit}"


_PREFIXES = ((6, "M"), (9, "G"), (12, "T"))

#: As in the specification of a GPU, a multiply-add is two FLOPs. All counts follow this convention.
DEFAULTS: dict[str, Rate] = {
    # 16 cores.
    "decode": Rate(2500.0, "images/s"),
    "crops": Rate(10_000.0, "crops/s"),
    # float32 with TF32 off, as networks run; bfloat16 training.
    **{f"network {name}": Rate(35e12, "FLOP/s") for name in ("vit_small", "vit_base", "cnn")},
    "float32 products": Rate(35e12, "FLOP/s"),
    "training": Rate(150e12, "FLOP/s"),
    # Distances in float32, and at 70 % of the tensor cores' peak (495 TFLOP/s in TF32, 989 in bfloat16), a third of it
    # for three products.
    "clustering": Rate(35e12, "FLOP/s"),
    "clustering tf32": Rate(350e12, "FLOP/s"),
    "clustering tf32x3": Rate(115e12, "FLOP/s"),
    "clustering bf16x3": Rate(230e12, "FLOP/s"),
    "device memory": Rate(2.4e12, "bytes/s"),
    # Five seconds for 60,000 points of 3072 dimensions.
    "UMAP cuml": Rate(12_000.0, "points/s"),
    # 96 s of CPU time for as many made-up points.
    "UMAP umap-learn": Rate(620.0, "points/s", ONE_THREAD),
    # About 30 passes over the codes at 2.4 TB/s.
    "codes": Rate(2e10, "codes/s"),
    "cells": Rate(1.0, "cells/s"),
    "disk write": Rate(1e9, "bytes/s"),
    "disk read": Rate(2e9, "bytes/s"),
}
