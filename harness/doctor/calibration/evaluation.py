"""Rates of an evaluation: codes per second of statistics and metrics, and the constant cost of a cell."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from harness.activations.baseline import Baseline, make_baseline
from harness.activations.heads.own import BackboneHead
from harness.activations.linear_site import LinearLayerSite
from harness.backbones.base import Backbone
from harness.cells.evaluate import evaluate
from harness.doctor.calibration.synthetic import SyntheticSite, SyntheticTokens, image_set, small_backbone
from harness.doctor.calibration.timing import rate_of, synchronise
from harness.doctor.rates import Rate
from harness.doctor.steps import CELL_UNITS, CELL_WIDTH
from harness.metrics.base import METRICS, Metric
from methods import METHODS
from methods.base import Method, make_config

#: Evaluation images, and images per batch. The first batch is not counted.
IMAGES, BATCH = 14, 2


class _Times(NamedTuple):
    """Seconds of one evaluation."""

    counted: float
    """of the passes over all images but those of the first batch"""
    rest: float
    """of all else than passes"""


def measure_evaluation(device: str, products: float, cache: Path) -> dict[str, Rate]:
    """Measure twice the evaluation of a dictionary of 6144 units by all metrics that a suite measures by default.

    Its size is fixed, since most of its time does not depend on the number of images.

    Args:
        products: FLOP/s of float32 products, to subtract encoder and decoder.
        cache: folder for the temporary baseline.
    """
    backbone = small_backbone(CELL_WIDTH, device)
    site = LinearLayerSite(backbone.model, "1", grid_sides=backbone.grid_sides)
    site.locate(backbone)
    layer = SyntheticSite(CELL_WIDTH, CELL_WIDTH)
    method = METHODS.get("random_dictionary")
    config = make_config(method, {"expansion_factor": CELL_UNITS // CELL_WIDTH})
    fitted = method(config).fit(SyntheticTokens(2048, layer), layer, seed=0, device=device)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".calibration-") as folder:
        baseline = _baseline(backbone, site, Path(folder))
        metrics = [metric for name in METRICS.names() if (metric := METRICS.get(name)).default]
        both = [_times(fitted, baseline, metrics, device) for _ in range(2)]
        n_tokens = baseline.n_tokens
    codes = (IMAGES - BATCH) * n_tokens * CELL_UNITS
    coding = 4 * codes * CELL_WIDTH / products
    # Where encoder and decoder are slower than the products were, little would be left for statistics and metrics.
    rates = [codes / max(times.counted - coding, 0.1 * times.counted) for times in both]
    size = f"{IMAGES - BATCH} images, {n_tokens} tokens, {CELL_UNITS} units"
    return {
        "codes": rate_of(rates, "codes/s", size),
        "cells": rate_of([1 / times.rest for times in both], "cells/s", f"{CELL_UNITS} units of width {CELL_WIDTH}"),
    }


def _baseline(backbone: Backbone, site: LinearLayerSite, cache: Path) -> Baseline:
    head = BackboneHead(backbone, None)
    return make_baseline(
        backbone, site, image_set(IMAGES), head, cache, top_images=100, head_identity="calibration", batch_size=BATCH
    )


def _times(method: Method, baseline: Baseline, metrics: list[type[Metric]], device: str) -> _Times:
    moments: list[float] = []

    def note(done: int, total: int, what: str) -> None:
        if what == "evaluation images":
            synchronise(device)
            moments.append(time.perf_counter())

    started = time.perf_counter()
    evaluate(method, baseline, metrics, progress=note)
    synchronise(device)
    total = time.perf_counter() - started
    counted = moments[-1] - moments[0]
    return _Times(counted, max(total - counted * IMAGES / (IMAGES - BATCH), 1e-6))
