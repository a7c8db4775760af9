"""Rates of fits: training steps of sparse autoencoders, and ELUDe's clustering."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from harness.doctor.calibration.synthetic import SyntheticSite, SyntheticTokens
from harness.doctor.calibration.timing import measured, rate_of, synchronise
from harness.doctor.layers import Layer
from harness.doctor.rates import Rate
from harness.doctor.steps import CELL_UNITS, CELL_WIDTH, fit_flops
from harness.doctor.workload import Job
from methods import METHODS
from methods.base import make_config
from methods.elude.lanes import plan_lanes
from methods.errors import UserError
from methods.plugin_calls import calling

#: Tokens per training step.
BATCH = 1024
#: The first step compiles and allocates; each of two repetitions needs one more, and their ends are timed.
FEWEST_STEPS = 4

#: Tokens to train on: at least one per unit, which archetypal SAEs need.
TOKENS = 8 * BATCH

#: Instances per neuron, width and clusters of the clustering: (on a CPU, on a GPU).
INSTANCES, WIDTHS = (1500, 40_000), (1536, 3072)


class _Enough(Exception):
    """Exception that ends a training once enough steps are timed."""


def measure_training(
    names: Sequence[str], seconds: float, device: str, report: Callable[[str], None]
) -> dict[str, Rate]:
    """Measure the training steps of the methods ``names``, at 768 -> 6144 units and batches of 1024 tokens.

    A method that cannot be trained at this size is reported and left out.
    """
    site = SyntheticSite(CELL_WIDTH, CELL_WIDTH)
    tokens = SyntheticTokens(TOKENS, site)
    rates = {}
    for name in names:
        try:
            with calling(METHODS, name):
                rates[f"training {name}"] = _training(name, tokens, site, seconds / len(names), device)
        except UserError as error:
            report(f"The training of {name} is not measured: {error}")
    return rates


def _training(name: str, tokens: SyntheticTokens, site: SyntheticSite, seconds: float, device: str) -> Rate:
    method = METHODS.get(name)
    settings: dict[str, Any] = {"expansion_factor": CELL_UNITS // CELL_WIDTH, "epochs": 1000, "batch_size": BATCH}
    if "k" in method.Config.model_fields:
        settings["k"] = 20
    config = make_config(method, settings)
    moments: list[float] = []

    def note(done: int, total: int, what: str) -> None:
        if what != "training steps":
            return
        synchronise(device)
        moments.append(time.perf_counter())
        if (len(moments) >= FEWEST_STEPS and moments[-1] - moments[0] >= seconds / 2) or len(moments) > 200:
            raise _Enough

    with contextlib.suppress(_Enough):
        method(config).fit(tokens, site, seed=0, device=device, progress=note)
    if len(moments) < FEWEST_STEPS:
        raise UserError(f"{name} reports {len(moments)} training steps, and {FEWEST_STEPS} are needed.")
    layer = Layer(site.d_in, site.d_out, 1, 0.0)
    epoch = config.model_copy(update={"epochs": 1})
    flops = fit_flops(Job(name, epoch, layer, BATCH, 0, True, reads_input=method.spec.reads == "input"), layer)
    steps = len(moments) - 2
    middle = 1 + steps // 2
    halves = [
        flops * (stop - start) / (moments[stop] - moments[start]) for start, stop in ((1, middle), (middle, steps + 1))
    ]
    size = f"{steps} steps, {CELL_WIDTH} -> {CELL_UNITS} units, {BATCH} tokens each"
    return rate_of(halves, "FLOP/s", size)


def measure_clustering(seconds: float, device: str) -> dict[str, Rate]:
    """Measure ELUDe's fit of a few neurons of a synthetic layer."""
    on_gpu = device.startswith("cuda")
    instances, width = INSTANCES[on_gpu], WIDTHS[on_gpu]
    method = METHODS.get("elude")
    config = make_config(method, {"top_k": instances, "min_cluster_size": max(2, instances // 40)})
    neurons = len(plan_lanes(device, None, 1))
    tokens = SyntheticTokens(2 * instances, SyntheticSite(width, neurons))

    def fit(rounds: int) -> float:
        site = SyntheticSite(width, neurons)
        for _ in range(rounds):
            method(config).fit(tokens, site, seed=0, device=device)
        layer = Layer(width, neurons, 1, 0.0)
        return rounds * fit_flops(Job("elude", config, layer, tokens.n, 0, True), layer)

    size = f"{{n}} x {neurons} neurons of {instances} instances, {width} inputs"
    return {"clustering": measured(fit, "FLOP/s", size, seconds=seconds, most=32, device=device)}
