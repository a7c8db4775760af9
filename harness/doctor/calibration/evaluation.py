"""Rates of an evaluation: codes per second of statistics and metrics, and the constant cost of a cell."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

from harness.activations.baseline import Baseline, make_baseline
from harness.activations.heads.own import BackboneHead
from harness.activations.linear_site import LinearLayerSite
from harness.backbones.base import Backbone
from harness.cells.evaluate import METRIC_AT_END, METRIC_PER_BATCH, evaluate
from harness.doctor.calibration.synthetic import SyntheticSite, SyntheticTokens, image_set, small_backbone
from harness.doctor.calibration.timing import rate_of, synchronise
from harness.doctor.rates import Rate
from harness.doctor.steps import CELL_UNITS, CELL_WIDTH, CODING
from harness.metrics.base import METRICS, Metric
from methods import METHODS
from methods.base import Method, make_config
from methods.tracing import Trace, tracing

#: Evaluation images, images per batch, and side of a patch in pixels: (on a CPU, on a GPU). Those on a GPU are of the
#: scale of ViT-B/14's 257 tokens, because smaller work measures the launch of its kernels.
IMAGES, BATCHES, PATCHES = (14, 256), (2, 64), (16, 14)
#: Shortest time of a section.
LEAST_S = 1e-6
#: Share of the other work below which a metric has no rate.
SMALLEST = 0.01


class _Times(NamedTuple):
    """Seconds of one evaluation, by section of its trace; the first batch counts as the others do."""

    coding: float
    """of encoder and decoder"""
    per_batch: dict[str, float]
    """of metrics, batch by batch"""
    at_end: dict[str, float]
    """of metrics, after the pass"""
    statistics: float
    """of all else in the pass, without the network"""
    rest: float
    """of all else"""


def measure_evaluation(device: str, cache: Path) -> dict[str, Rate]:
    """Measure twice the evaluation of a dictionary of 6144 units by all metrics that a suite measures by default.

    Its size is fixed, since most of its time does not depend on the number of images.

    Args:
        cache: folder for the temporary baseline.
    """
    on_gpu = device.startswith("cuda")
    images, batch = IMAGES[on_gpu], BATCHES[on_gpu]
    backbone = small_backbone(CELL_WIDTH, device, PATCHES[on_gpu])
    site = LinearLayerSite(backbone.model, "1", grid_sides=backbone.grid_sides)
    site.locate(backbone)
    layer = SyntheticSite(CELL_WIDTH, CELL_WIDTH)
    method = METHODS.get("random_dictionary")
    config = make_config(method, {"expansion_factor": CELL_UNITS // CELL_WIDTH})
    fitted = method(config).fit(SyntheticTokens(2048, layer), layer, seed=0, device=device)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".calibration-") as folder:
        baseline = _baseline(backbone, site, Path(folder), images, batch)
        metrics = [metric for name in METRICS.names() if (metric := METRICS.get(name)).default]
        # The first evaluation compiles, loads kernels and allocates.
        _times(fitted, baseline, metrics, device)
        both = [_times(fitted, baseline, metrics, device) for _ in range(2)]
        n_tokens = baseline.n_tokens
    codes = images * n_tokens * CELL_UNITS
    size = f"{images} images in batches of {batch}, {n_tokens} tokens, {CELL_UNITS} units"
    of_dictionary = f"{CELL_UNITS} units of width {CELL_WIDTH}"
    rates = {
        CODING: rate_of([4 * codes * CELL_WIDTH / times.coding for times in both], "FLOP/s", size),
        "codes": rate_of([codes / times.statistics for times in both], "codes/s", size),
        "cells": rate_of([1 / times.rest for times in both], "cells/s", of_dictionary),
    }
    for metric in metrics:
        of_batches = [times.per_batch.get(metric.id, 0.0) for times in both]
        at_end = [times.at_end.get(metric.id, 0.0) for times in both]
        if min(of_batches) > SMALLEST * both[0].statistics:
            rates[f"codes {metric.id}"] = rate_of([codes / seconds for seconds in of_batches], "codes/s", size)
        if min(at_end) > SMALLEST * both[0].rest:
            rates[f"cells {metric.id}"] = rate_of([1 / seconds for seconds in at_end], "cells/s", of_dictionary)
    return rates


def _baseline(backbone: Backbone, site: LinearLayerSite, cache: Path, images: int, batch: int) -> Baseline:
    head = BackboneHead(backbone, None)
    return make_baseline(
        backbone, site, image_set(images), head, cache, top_images=100, head_identity="calibration", batch_size=batch
    )


def _times(method: Method, baseline: Baseline, metrics: list[type[Metric]], device: str) -> _Times:
    started = time.perf_counter()
    with tracing(Trace(partial(synchronise, device))) as trace:
        evaluate(method, baseline, metrics)
    total = time.perf_counter() - started
    sums: dict[str, float] = {}
    for key, seconds in trace.seconds.items():
        sums[key.name] = sums.get(key.name, 0.0) + seconds
    coding = sums.pop("encoder", 0.0) + sums.pop("decoder", 0.0)
    per_batch, at_end = (
        {metric.id: sums.pop(name) for metric in metrics if (name := form.format(metric.id)) in sums}
        for form in (METRIC_PER_BATCH, METRIC_AT_END)
    )
    in_pass = ("unit statistics", "head and copies of logits to the host", "waiting for decoded images", "network")
    statistics = sum(sums.pop(name, 0.0) for name in in_pass)
    rest = total - coding - sum(per_batch.values()) - sum(at_end.values()) - statistics
    return _Times(max(coding, LEAST_S), per_batch, at_end, max(statistics, LEAST_S), max(rest, LEAST_S))
