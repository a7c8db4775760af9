"""Efficiency: time of the network with a method, relative to the unmodified network."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.efficiency.cost import backbone_macs, extra_macs
from harness.efficiency.measure import ModeMeasurement, measure
from harness.efficiency.memory import Peak
from harness.efficiency.protocol import circumstances, conditions, protocol_of
from harness.efficiency.ratio import median, paired_ratio
from harness.metrics.base import METRICS, Metric, Outcome, Score
from harness.metrics.parameters import parameters_score
from methods.base import Method


@METRICS.register()
class Efficiency(Metric):
    """Median over pairs of batches of (time with the method) / (time of the backbone).

    Companions: ``latency_ms``, ``throughput``, ``peak_memory``, ``macs`` and ``parameters``. A split is timed unedited.
    Scores that end in ``_materialised`` sum its sub-units instead of computing the original product (the paper's
    Table 5). Scores that end in ``_all_units`` compute all sub-units in addition to the original product. Scores that
    end in ``_compiled`` are measured under ``torch.compile``.
    """

    id = "efficiency_ratio"
    title = "efficiency"
    unit = ""
    direction = "lower"
    reference = "ELUDe paper, App. B.4 and Table 5"
    default: ClassVar[bool] = False
    timed: ClassVar[bool] = True

    def __init__(self, baseline: Baseline) -> None:
        super().__init__(baseline)
        self.backbone = baseline.passes.backbone
        self.protocol = protocol_of(self.backbone.device)

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        # Virtual methods do not change the network, so they do not slow it down.
        return not method.spec.virtual

    @property
    def params(self) -> dict[str, Any]:
        timing = conditions(self.backbone.device, self.baseline.passes.site.dtype, self.protocol)
        return {**timing, "image_size": self.backbone.preprocessing.size}

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        method, site = outcome.method, self.baseline.passes.site
        images = self._images()
        measurement = measure(method, self.backbone, site.path, images, self.protocol)
        outcome.notes += measurement.notes
        details = {**self.params, **circumstances(self.backbone.device), "n_units": method.n_units}
        for measured in measurement.modes:
            yield from _timings(measured, measurement.backbone_memory, details, len(images))
        whole = backbone_macs(self.backbone)
        for mode in dict.fromkeys(measured.mode for measured in measurement.modes):
            extra = extra_macs(method, site.d_in, site.d_out, mode)
            value = (whole + extra.value * self.baseline.n_tokens) / 1e9
            facts = {
                "backbone": whole / 1e9,
                "extra_per_token": extra.value,
                "how": extra.how,
                "tokens_per_image": self.baseline.n_tokens,
                "n_units": method.n_units,
            }
            if site.layer_macs is not None:
                facts["layer"] = site.layer_macs * self.baseline.n_tokens / 1e9
            name = "_".join(["macs", mode] if mode else ["macs"])
            yield Score(name, value, 1, unit="GMAC/image", direction="lower", details=facts, params={})
        yield parameters_score(method, self.backbone)

    def _images(self) -> Tensor:
        """Return a batch (B, 3, S, S) of evaluation images, repeated if the split is smaller than a batch."""
        index = self.baseline.index[: self.protocol.batch_size]
        pixels = self.baseline.passes.inputs(index)
        rows = torch.arange(self.protocol.batch_size) % len(pixels)
        return pixels[rows].to(self.backbone.device)


def _timings(measured: ModeMeasurement, of_backbone: Peak, details: dict[str, Any], batch_size: int) -> Iterable[Score]:
    """Yield the scores of one mode of running a method."""
    suffix = "".join(f"_{part}" for part in (measured.mode, "compiled" if measured.compiled else "") if part)
    reference, variant = measured.times
    ratio, latency, base = paired_ratio(reference, variant), median(variant), median(reference)
    details = {
        **details,
        "compiled": measured.compiled,
        "interval": [ratio.low, ratio.high],
        "backbone_latency_ms": base.value,
        "mean_ms": float(np.mean(variant)),
        "backbone_mean_ms": float(np.mean(reference)),
    }
    kind = "95 % interval of the median"
    ratio_name, latency_name = f"efficiency_ratio{suffix}", f"latency_ms{suffix}"
    yield Score(ratio_name, ratio.value, ratio.n, ratio.standard_error, kind, "", "lower", details)
    times = {**details, "interval": [latency.low, latency.high], "backbone_interval": [base.low, base.high]}
    yield Score(latency_name, latency.value, latency.n, latency.standard_error, kind, "ms", "lower", times)
    speed = 1e3 * batch_size / latency.value if latency.value else math.nan
    yield Score(f"throughput{suffix}", speed, latency.n, unit="images/s", direction="higher", details=details)
    memory = measured.memory
    if memory.bytes is not None:
        facts = {**details, "kind": memory.kind, "backbone_mb": (of_backbone.bytes or 0) / 1e6}
        del facts["interval"]
        yield Score(f"peak_memory{suffix}", memory.bytes / 1e6, 1, unit="MB", direction="lower", details=facts)
