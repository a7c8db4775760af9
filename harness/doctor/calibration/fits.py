"""Rates of fits: training steps of sparse autoencoders, and ELUDe's clustering."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from harness.doctor.calibration.synthetic import SyntheticSite, SyntheticTokens
from harness.doctor.calibration.timing import measured, rate_of, repeated, synchronise
from harness.doctor.layers import Layer
from harness.doctor.rates import MEASURED, Rate
from harness.doctor.steps import CELL_UNITS, CELL_WIDTH, fit_flops
from harness.doctor.workload import Job
from methods import METHODS
from methods.base import make_config
from methods.elude.lanes import plan_lanes
from methods.errors import UserError
from methods.plugin_calls import calling

#: Sizes are pairs: (on a CPU, on a GPU). Those on a GPU are of the paper's scale, because smaller work measures the
#: launch of its kernels.
#:
#: Tokens per training step: that of the suites, because the rate of a CPU falls with matrices that exceed its caches.
BATCHES = (4096, 4096)
#: Steps between two readings of the clock. A GPU is waited for at each, which delays the step after it.
STRIDES = (1, 20)
#: Readings, without the first step, which allocates: each of two repetitions needs one, and one to start.
FEWEST_READINGS = 4
MOST_READINGS = 200

#: Batches of tokens to train on: at least one token per unit, which archetypal SAEs need.
N_BATCHES = (2, 8)

#: Instances per neuron, and width, of the clustering; instances of the clustering before it, which compiles.
INSTANCES, WIDTHS = (1500, 200_000), (1536, 3072)
COMPILING_INSTANCES = (300, 20_000)
#: Neurons of it: one for each lane of a GPU.
COMPILING_NEURONS = 2


#: Shortest preparation of a fit.
LEAST_S = 1e-3


class _Enough(Exception):
    """Exception that ends a training once enough steps are timed."""


def measure_training(
    names: Sequence[str], seconds: float, device: str, report: Callable[[str], None]
) -> dict[str, Rate]:
    """Measure the training steps of the methods ``names``, at 768 -> 6144 units and batches of :data:`BATCHES` tokens.

    The time before the steps is the rate ``preparation NAME``. A method that cannot be trained at this size is reported
    and left out.
    """
    site = SyntheticSite(CELL_WIDTH, CELL_WIDTH)
    on_gpu = device.startswith("cuda")
    tokens = SyntheticTokens(N_BATCHES[on_gpu] * BATCHES[on_gpu], site)
    rates: dict[str, Rate] = {}
    for name in names:
        try:
            with calling(METHODS, name):
                rates |= _training(name, tokens, site, seconds / len(names), device)
        except UserError as error:
            report(f"The training of {name} is not measured: {error}")
    return rates


def _training(name: str, tokens: SyntheticTokens, site: SyntheticSite, seconds: float, device: str) -> dict[str, Rate]:
    method, on_gpu = METHODS.get(name), device.startswith("cuda")
    batch, stride = BATCHES[on_gpu], STRIDES[on_gpu]
    settings: dict[str, Any] = {"expansion_factor": CELL_UNITS // CELL_WIDTH, "epochs": 1000, "batch_size": batch}
    if "k" in method.Config.model_fields:
        settings["k"] = 20
    config = make_config(method, settings)
    fewest = FEWEST_READINGS + on_gpu
    moments: list[float] = []
    calls = 0

    def note(done: int, total: int, what: str) -> None:
        nonlocal calls
        if what != "training steps":
            return
        calls += 1
        if (calls - 1) % stride:
            return
        synchronise(device)
        moments.append(time.perf_counter())
        is_long = moments[-1] - moments[0] >= seconds / 2
        if (len(moments) >= fewest and is_long) or len(moments) > MOST_READINGS:
            raise _Enough

    # The first fit of a process compiles.
    starts = []
    for is_counted in (False, True):
        moments.clear()
        calls = 0
        starts.append(time.perf_counter())
        with contextlib.suppress(_Enough):
            method(config).fit(tokens, site, seed=0, device=device, progress=note if is_counted else _stop)
    if len(moments) < fewest:
        raise UserError(f"{name} reports {calls} training steps, and {stride * (fewest - 1) + 1} are needed.")
    layer = Layer(site.d_in, site.d_out, 1, 0.0)
    epoch = config.model_copy(update={"epochs": 1})
    flops = fit_flops(Job(name, epoch, layer, batch, 0, True, reads_input=method.spec.reads == "input"), layer)
    # On a GPU the steps of the second reading are recorded and compared (methods/training/graphs.py).
    start = 2 if on_gpu else 1
    readings = len(moments) - 1 - start
    middle = start + readings // 2
    halves = [
        flops * stride * (last - first) / (moments[last] - moments[first])
        for first, last in ((start, middle), (middle, start + readings))
    ]
    size = f"{stride * readings} steps, {CELL_WIDTH} -> {CELL_UNITS} units, {batch} tokens each"
    rate = rate_of(halves, "FLOP/s", size)
    before = max(moments[0] - starts[-1] - flops / rate.value, LEAST_S)
    preparation = Rate(1 / before, "fits/s", MEASURED, f"one fit, {CELL_WIDTH} -> {CELL_UNITS} units")
    return {f"training {name}": rate, f"preparation {name}": preparation}


def _stop(done: int, total: int, what: str) -> None:
    """End a training after its first step."""
    if what == "training steps":
        raise _Enough


def measure_clustering(seconds: float, device: str) -> dict[str, Rate]:
    """Measure ELUDe's fit of a few neurons of a synthetic layer; on a GPU its size is fixed, whatever ``seconds``."""
    on_gpu = device.startswith("cuda")
    instances, width = INSTANCES[on_gpu], WIDTHS[on_gpu]
    # With two lanes, no distances are computed beside the last tree, which counts less with more neurons.
    neurons = len(plan_lanes(device, None, 1)) * (2 if on_gpu else 1)
    unit, size = "FLOP/s", f"{{n}} x {neurons} neurons of {instances} instances, {width} inputs"
    if not on_gpu:
        fit = _clustering(instances, 2 * instances, width, neurons, device)
        return {"clustering": measured(fit, unit, size, seconds=seconds, most=32)}
    compile_clustering(device)
    # All tokens are instances: as many again would take gigabytes of the host's memory.
    fit = _clustering(instances, instances, width, neurons, device)
    return {"clustering": repeated(fit, 1, unit, size, device=device)}


def compile_clustering(device: str) -> None:
    """Fit ELUDe once at a small size: the first fit of a process compiles and loads its kernels."""
    on_gpu = device.startswith("cuda")
    instances = COMPILING_INSTANCES[on_gpu]
    _clustering(instances, instances, WIDTHS[on_gpu], COMPILING_NEURONS, device)(1)


def _clustering(instances: int, n_tokens: int, width: int, neurons: int, device: str) -> Callable[[int], float]:
    """Return work that fits ELUDe a number of times and returns its FLOPs."""
    method = METHODS.get("elude")
    config = make_config(method, {"top_k": instances, "min_cluster_size": max(2, instances // 40)})
    tokens = SyntheticTokens(n_tokens, SyntheticSite(width, neurons), device)

    def fit(rounds: int) -> float:
        site = SyntheticSite(width, neurons)
        for _ in range(rounds):
            method(config).fit(tokens, site, seed=0, device=device)
        layer = Layer(width, neurons, 1, 0.0)
        return rounds * fit_flops(Job("elude", config, layer, tokens.n, 0, True), layer)

    return fit
