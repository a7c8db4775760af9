"""Rates of a machine, from which the time of a suite is estimated: those of one GPU, and ones measured here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from harness.doctor.counted_rates import CLUSTERING, TRAINING_STEPS

MEASURED, MEASURED_GPU, ASSUMED = "measured here", "measured on an H200", "arithmetic at assumed H100 rates"
#: Sources of the rates of code that has changed since it was measured.
COUNTED, COMPOSED = "counted work at assumed H200 rates", "arithmetic from parts measured on an H200"
#: Source of the rates of what uses no GPU: umap-learn, and the matching of units.
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
    """difference of the two repetitions, relative to their mean; None for a rate assumed or measured once"""


class Rates:
    """Rates by name; those that were not measured here are the ones of :data:`DEFAULTS`.

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
        similar = f"training {'vanilla_sae' if name.removeprefix('training ') in DENSE else 'topk_sae'}"
        return self.measured.get(similar) or DEFAULTS.get(name) or DEFAULTS[similar]

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


_STEPS = "768 -> 6144 units, 4096 tokens each, as a CUDA graph"


def _on_gpu(value: float, unit: str, size: str) -> Rate:
    return Rate(value, unit, MEASURED_GPU, size)


#: As in the specification of a GPU, a multiply-add is two FLOPs. All counts follow this convention.
DEFAULTS: dict[str, Rate] = {
    # 16 cores, at the 4 ms of CPU time per image of docs/reproduce.md and some loss.
    "decode": Rate(2500.0, "images/s"),
    "crops": Rate(10_000.0, "crops/s"),
    # float32 with TF32 off, as networks run.
    "network vit_base": _on_gpu(43.8e12, "FLOP/s", "ViT-B/14, batches of 256"),
    "network vit_small": _on_gpu(29.6e12, "FLOP/s", "ViT-S/16, batches of 32"),
    # That of a transformer: most of its FLOPs are products of channels. On a CPU it has a quarter of that.
    "network convnext": Rate(43.8e12, "FLOP/s"),
    "network cnn": _on_gpu(6.4e12, "FLOP/s", "EfficientNet-Lite0, batches of 32"),
    "float32 products": _on_gpu(51.1e12, "FLOP/s", "products of side 8192"),
    # Six autoencoders took 18 to 41 ms longer than the network alone.
    "coding": _on_gpu(44e12, "FLOP/s", "autoencoders of 6144 units in ViT-B/14, batches of 256 images"),
    **{f"training {name}": Rate(step.rate, "FLOP/s", COUNTED, _STEPS) for name, step in TRAINING_STEPS.items()},
    # FLOP/s of 3 n^2 d, the distances computed again in float64 included: 23.2 s, and 1.36 s with 100,000.
    "clustering": _on_gpu(63.4e12, "FLOP/s", "one neuron of 400,000 instances, 3072 inputs, float32"),
    "clustering tf32": Rate(CLUSTERING, "FLOP/s", COMPOSED, "one neuron of 400,000 instances, 3072 inputs, TF32"),
    "clustering tf32x3": _on_gpu(67.8e12, "FLOP/s", "one neuron of 100,000 instances, 3072 inputs"),
    # That of three products in TF32, which take longer.
    "clustering bf16x3": Rate(67.8e12, "FLOP/s"),
    # Five seconds for 60,000 points of 3072 dimensions.
    "UMAP cuml": Rate(12_000.0, "points/s"),
    # 96 s of CPU time for as many made-up points.
    "UMAP umap-learn": Rate(620.0, "points/s", ONE_THREAD),
    # The statistics of units alone, 2.06 ms per batch. What metrics add per code was not measured apart from them.
    "codes": _on_gpu(1.2e10, "codes/s", "batches of 16 x 257 tokens x 6144 units"),
    # All of an evaluation that took 1.86 s, since little of it depends on 100 images.
    "cells": _on_gpu(0.54, "cells/s", "100 images, 6144 units, 18 metrics"),
    # Setting up took 0.1 to 0.4 s; the rest is for files and the store.
    "fits": Rate(1.0, "fits/s"),
    "compilation": Rate(0.08, "networks/s"),
    "matching": Rate(0.12, "pairs/s", ONE_THREAD, "two random dictionaries of 6144 x 768"),
    "disk write": _on_gpu(1.09e9, "bytes/s", "files of 16 MiB"),
    # Files read just after they were written came from memory there.
    "disk read": Rate(2e9, "bytes/s"),
}
