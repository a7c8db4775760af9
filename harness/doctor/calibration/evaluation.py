"""Rates of an evaluation: codes per second of statistics and metrics, and the constant cost of a cell."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from harness.activations.baseline import Baseline, make_baseline
from harness.activations.heads.own import BackboneHead
from harness.activations.linear_site import LinearLayerSite
from harness.backbones.base import Backbone
from harness.cells.evaluate import evaluate
from harness.doctor.calibration.synthetic import SyntheticSite, SyntheticTokens, image_set, small_backbone
from harness.doctor.calibration.timing import synchronise
from harness.doctor.rates import MEASURED, Rate
from harness.doctor.steps import CELL_UNITS, CELL_WIDTH
from harness.metrics.base import METRICS, Metric
from methods import METHODS
from methods.base import Method, make_config

#: Evaluation images of the small and the large evaluation, from whose difference the rate per code follows.
IMAGES = (2, 10)
BATCH = 2


def measure_evaluation(seconds: float, device: str, products: float, cache: Path) -> dict[str, Rate]:
    """Measure the evaluation of a dictionary of 6144 units by all metrics that a suite measures by default.

    Args:
        seconds: not used for the size, which is fixed; a repetition is left out if the first one took longer.
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
        small, large = (_baseline(backbone, site, n, Path(folder)) for n in IMAGES)
        metrics = [metric for name in METRICS.names() if (metric := METRICS.get(name)).default]
        # Compiles and allocates.
        first = _seconds(fitted, small, metrics, device)
        repetitions = 2 if first < seconds else 1
        pairs = [
            (_seconds(fitted, small, metrics, device), _seconds(fitted, large, metrics, device))
            for _ in range(repetitions)
        ]
    n_tokens = small.n_tokens
    codes = (IMAGES[1] - IMAGES[0]) * n_tokens * CELL_UNITS
    coding = 4 * codes * CELL_WIDTH / products
    # The products are a lower bound of encoder and decoder, so that the difference may be too small.
    rates = [codes / max(large_s - small_s - coding, 0.1 * (large_s - small_s), 1e-9) for small_s, large_s in pairs]
    code_rate = sum(rates) / len(rates)
    per_image = (codes / code_rate + coding) / (IMAGES[1] - IMAGES[0])
    constants = [max(small_s - IMAGES[0] * per_image, 1e-3) for small_s, _ in pairs]
    constant = sum(constants) / len(constants)
    size = f"{IMAGES[1] - IMAGES[0]} images, {n_tokens} tokens, {CELL_UNITS} units"
    return {
        "codes": Rate(code_rate, "codes/s", MEASURED, size, (max(rates) - min(rates)) / code_rate),
        "cells": Rate(
            1 / constant,
            "cells/s",
            MEASURED,
            f"{CELL_UNITS} units of width {CELL_WIDTH}",
            (max(constants) - min(constants)) / constant,
        ),
    }


def _baseline(backbone: Backbone, site: LinearLayerSite, n: int, cache: Path) -> Baseline:
    head = BackboneHead(backbone, None)
    return make_baseline(
        backbone, site, image_set(n), head, cache, top_images=100, head_identity="calibration", batch_size=BATCH
    )


def _seconds(method: Method, baseline: Baseline, metrics: list[type[Metric]], device: str) -> float:
    started = time.perf_counter()
    evaluate(method, baseline, metrics)
    synchronise(device)
    return time.perf_counter() - started
