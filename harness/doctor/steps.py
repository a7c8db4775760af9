"""Time of a suite step by step, from the sizes of its work and the rates of a machine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from harness.doctor.disk import cache_files, state_bytes
from harness.doctor.layers import Layer
from harness.doctor.rates import DEFAULTS, Rates
from harness.doctor.workload import Job, SizedTarget, Workload
from harness.identity import canonical
from harness.metrics.base import METRICS
from methods import METHODS
from methods.base import MethodConfig

#: Parts of a run whose time is logged.
Stage = Literal["tokens", "head", "baseline", "training", "clustering", "evaluation"]
STAGES: tuple[Stage, ...] = ("tokens", "head", "baseline", "training", "clustering", "evaluation")

STAGE_TITLES: dict[Stage, str] = {
    "tokens": "probing pass",
    "head": "probe",
    "baseline": "evaluation passes of the unmodified and ablated network",
    "training": "training, and other fits",
    "clustering": "clustering",
    "evaluation": "evaluation of the methods",
}

#: Passes over the features that the fit of a linear probe is assumed to take. Made-up features of 500 classes took up
#: to 97; real ones of ImageNet have not been measured.
PROBE_ITERATIONS = 200
#: Step of an evaluation whose time does not depend on the images.
DICTIONARY_STEP = "metrics of the dictionary"
#: Step of a fit whose time does not depend on the tokens.
PREPARATION_STEP = "preparation of fits"
#: Steps whose time does not depend on the number of images, tokens or instances.
CONSTANT_STEPS = (DICTIONARY_STEP, PREPARATION_STEP)
#: Rate of encoder and decoder; that of products counts if only those were measured here.
CODING = "coding"
#: Units and width at which the constant cost of a cell's evaluation is measured.
CELL_UNITS, CELL_WIDTH = 6144, 768


class Step(NamedTuple):
    """Time of one step of a stage."""

    stage: Stage
    step: str
    seconds: float
    rate: str
    """name of the rate (:mod:`harness.doctor.rates`)"""
    source: str
    """where the rate comes from"""


class Images(NamedTuple):
    """Sizes of the passes over the images of one target."""

    layer: Layer
    probing: int
    crops: int
    """random crops per probing image; 0: the centre crop alone"""
    evaluated: int
    pass_share: float | None
    """share of the network that the pass over the probing images runs; None if no pass is needed for tokens"""
    token_bytes: int
    """bytes of the token sets to write"""
    baseline_bytes: int
    """bytes of the outputs, logits and states to write"""
    head: str | None
    classes: int


def pass_steps(workload: Workload, rates: Rates) -> Iterator[tuple[SizedTarget, list[Step]]]:
    """Yield each target whose layer is known, with the passes that no target before it makes."""
    shared: set[str] = set()
    deepest: dict[str, float] = {}
    for sized in workload.targets:
        if sized.layer is not None:
            deepest[_pass_key(sized)] = max(sized.layer.before, deepest.get(_pass_key(sized), 0.0))
    for sized in workload.targets:
        if sized.layer is not None:
            yield sized, list(_of_target(sized, sized.layer, shared, deepest, rates))


def add_up(steps: Iterable[Step]) -> list[Step]:
    """Add up the seconds of equal steps, in the order of the stages."""
    sums: dict[tuple[Any, ...], float] = {}
    for step in steps:
        key = (step.stage, step.step, step.rate, step.source)
        sums[key] = sums.get(key, 0.0) + step.seconds
    added = [Step(key[0], key[1], seconds, key[2], key[3]) for key, seconds in sums.items() if seconds > 0]
    return sorted(added, key=lambda step: STAGES.index(step.stage))


def _pass_key(sized: SizedTarget) -> str:
    """Return the identity of the pass over the probing images, which all layers and seeds of a network share."""
    network = sized.target.model_dump(include={"backbone", "weights", "checkpoint"})
    return canonical({"pass": network, "data": sized.shared["data"], "crops": sized.leaf.probing.crops})


def _of_target(
    sized: SizedTarget, layer: Layer, shared: set[str], deepest: Mapping[str, float], rates: Rates
) -> Iterator[Step]:
    """Yield the passes of a target that no target before it makes.

    Args:
        shared: collects the identities of passes and files.
        deepest: pass over the probing images -> share of the network that it runs.
    """
    files = cache_files(sized)

    def new(key: str) -> bool:
        is_new = key not in shared
        shared.add(key)
        return is_new

    token_bytes = sum(size for key, size in files.token_sets.items() if new(key))
    baseline_bytes = sum(size for key, size in (files.baseline | files.states).items() if new(key))
    weights = {"weights": sized.target.weights, "checkpoint": sized.target.checkpoint}
    probe = canonical({"backbone": sized.target.backbone, "data": sized.shared["data"], **weights, "probe": True})
    fits_probe = sized.target.head == "probe" and new(probe)
    classes = 1000 if sized.leaf.data.dataset.startswith("imagenet") else 10
    images = Images(
        layer,
        sized.probing,
        sized.leaf.probing.crops,
        sized.evaluated,
        deepest[_pass_key(sized)] if new(_pass_key(sized)) else None,
        token_bytes,
        baseline_bytes,
        "probe" if fits_probe else None,
        classes,
    )
    yield from image_steps(images, rates)


def image_steps(images: Images, rates: Rates) -> Iterator[Step]:
    """Yield the steps of the passes over the images: one for all token sets and a probe, and the baseline's three."""
    layer, fits_probe = images.layer, images.head == "probe"
    if images.pass_share is not None:
        # A probe reads the features of the centre crop, after the whole network.
        views = images.crops + 1 if fits_probe and images.crops else images.crops
        share = 1.0 if fits_probe and not images.crops else images.pass_share
        yield from _pass("tokens", images.probing, views, share, layer, rates)
    if images.token_bytes:
        yield rated_step("tokens", "write", images.token_bytes, "disk write", rates)
    if fits_probe:
        if images.pass_share is None:
            yield from _pass("head", images.probing, 0, 1.0, layer, rates)
        flops = 4.0 * images.probing * layer.d_out * images.classes * PROBE_ITERATIONS
        # Its products are in float64.
        yield rated_step("head", "fit of the probe", 2 * flops, "float32 products", rates)
    if images.baseline_bytes:
        yield from _pass("baseline", images.evaluated, 0, 1.0, layer, rates)
        for _ in range(2):
            yield from _overlapped(_evaluation_pass("baseline", images.evaluated, layer, rates), rates)
        yield rated_step("baseline", "write", images.baseline_bytes, "disk write", rates)


def job_steps(job: Job, rates: Rates) -> Iterator[Step]:
    """Yield the steps of one cell, with its fit and that of its prerequisite if they are made."""
    layer = job.layer
    if layer is None:
        return
    if job.full_fit:
        yield from _fit(job, layer, rates)
    if job.prerequisite is not None:
        name, config = job.prerequisite.method.spec.name, job.prerequisite.config
        yield from _fit(job._replace(method=name, config=config), layer, rates)
    yield from _overlapped(_evaluation_steps(job, layer, rates), rates)
    units = job.n_units or units_of(job, layer)
    codes = job.evaluated * layer.tokens * units
    # The rows of a split's dictionary are weights of inputs.
    width = layer.d_in if METHODS.get(job.method).spec_with(job.config).needs_weights else layer.d_out
    size = units / CELL_UNITS * width / CELL_WIDTH
    # Measured here, this is what an evaluation costs besides its metrics; the default is all of it.
    of_cell = 1.0 if "cells" in rates.measured else size
    yield rated_step("evaluation", DICTIONARY_STEP, of_cell, "cells", rates)
    for metric in METRICS.names() if job.metrics is None else job.metrics:
        for step, amount, rate in (
            ("unit statistics and metrics", codes, f"codes {metric}"),
            (DICTIONARY_STEP, _dictionary_size(metric, units, width), f"cells {metric}"),
        ):
            # Assumed rates are of all metrics together; a calibration has one of each that a suite measures by default.
            if rate in rates.measured:
                yield rated_step("evaluation", step, amount, rate, rates)


def _evaluation_steps(job: Job, layer: Layer, rates: Rates) -> Iterator[Step]:
    """Yield the steps of the pass over the evaluation images, without its metrics."""
    if job.runs_network:
        yield from _evaluation_pass("evaluation", job.evaluated, layer, rates)
    else:
        stored = float(job.stored_bytes) * job.evaluated * layer.tokens * layer.d_out
        yield rated_step("evaluation", "read of stored outputs", stored, "disk read", rates)
    codes = job.evaluated * layer.tokens * (job.n_units or units_of(job, layer))
    yield rated_step("evaluation", "encode and decode", codes * coding_flops(job, layer), coding_rate(rates), rates)
    yield rated_step("evaluation", "unit statistics and metrics", codes, "codes", rates)


def _overlapped(steps: Iterable[Step], rates: Rates) -> Iterator[Step]:
    """Yield the steps of a pass; beside a device that computes, only the time that reading takes longer counts."""
    steps = list(steps)
    computed = sum(step.seconds for step in steps if step.rate != "disk read")
    for step in steps:
        if step.rate == "disk read" and rates.overlapping:
            step = step._replace(seconds=max(0.0, step.seconds - computed))
        yield step


def _pass(stage: Stage, images: int, crops: int, share: float, layer: Layer, rates: Rates) -> Iterator[Step]:
    """Yield the steps of a pass from the pixels: ``share`` of the network on every crop of ``images`` images."""
    views = max(1, crops)
    forward = rated_step(
        stage, "forward", images * views * share * layer.gflops * 1e9, f"network {layer.architecture}", rates
    )
    yield forward
    decode = rated_step(stage, "decode", images, "decode", rates)
    # The first crop is part of the decoding rate.
    cropped = images * (views - 1) / rates["crops"].value
    seconds = decode.seconds + cropped
    yield decode._replace(seconds=max(0.0, seconds - forward.seconds) if rates.overlapping else seconds)


def _evaluation_pass(stage: Stage, images: int, layer: Layer, rates: Rates) -> Iterator[Step]:
    """Yield the steps of a later pass over the evaluation images: from the stored states, if they are kept."""
    stored = state_bytes(layer, images)
    if not stored:
        yield from _pass(stage, images, 0, 1.0, layer, rates)
        return
    yield rated_step(stage, "read of states", stored, "disk read", rates)
    flops = images * layer.after * layer.gflops * 1e9
    yield rated_step(stage, "forward", flops, f"network {layer.architecture}", rates)


def rated_step(stage: Stage, name: str, amount: float, rate: str, rates: Rates) -> Step:
    """Return a step of an amount of work at a rate."""
    used = rates[rate]
    return Step(stage, name, amount / used.value, rate, used.source)


def _dictionary_size(metric: str, units: float, width: float) -> float:
    """Return the size of a dictionary for a metric, relative to that of the calibration."""
    u, w = units / CELL_UNITS, width / CELL_WIDTH
    if metric in ("max_collinearity", "unit_overlap"):
        # Every pair of units; the second one compares lists of images.
        return u * u * (w if metric == "max_collinearity" else 1.0)
    return u * w


def units_of(job: Job, layer: Layer) -> float:
    """Return the number of units; 8 per neuron are assumed for ELUDe, one for methods without a number."""
    config = job.config
    splits = hasattr(config, "top_k_fraction") or getattr(config, "counts_of", None) is not None
    factor = _setting(config, "expansion_factor") or (8.0 if splits else _setting(config, "parts") or 1.0)
    return factor * layer.d_out


def _setting(config: MethodConfig, name: str) -> float | None:
    """Return a setting if it is a positive number: that of a plugin may have the same name and another type."""
    value = getattr(config, name, None)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and value is not None and 0 < value < math.inf else None


def fit_flops(job: Job, layer: Layer) -> float:
    """Return an upper bound of the FLOPs of one fit; 0 for methods that neither train nor cluster."""
    config = job.config
    if (epochs := _setting(config, "epochs")) is not None:
        width = layer.d_in if job.reads_input else layer.d_out
        # Three products per weight and token: forward, gradient of the weights, gradient of the input. Each is a
        # multiply-add, two FLOPs, so six FLOPs in total. This is an upper bound: the encoder needs no gradient of its
        # input, and a linear autoencoder takes five FLOPs per weight.
        per_token = units_of(job, layer) * (6 * (width + layer.d_out) + _pursuit_flops(job))
        if job.method == "archetypal_sae":
            # Its atoms are a product of a mixture (units, points) and the points (points, d_out), in every step.
            points = _setting(config, "points") or units_of(job, layer)
            per_token += 6 * units_of(job, layer) * points * layer.d_out / (_setting(config, "batch_size") or 1.0)
        return job.n_tokens * epochs * per_token
    # A distance takes two FLOPs per input. The first pass computes n^2 of them, or n^2 / 2 on a GPU, where it computes
    # one triangle and a sample of columns. The second pass computes those between components, at most n^2 / 2
    # (docs/clustering.md). So 3 n^2 d is the bound of a CPU and 3/2 of that of a GPU. Rates are measured by the same
    # formula, over all that a clustering does, so this factor cancels.
    return layer.d_out * 3 * instances_of(job) ** 2 * layer.d_in


def instances_of(job: Job) -> float:
    """Return the number of instances per neuron; 0 for methods that have none."""
    if (fraction := _setting(job.config, "top_k_fraction")) is None:
        return 0.0
    return min(_setting(job.config, "top_k") or fraction * job.n_tokens, job.n_tokens)


def _clustering(job: Job, flops: float, rates: Rates) -> Iterator[Step]:
    """Yield the distances, in the precision that is chosen for this process."""
    # Here, so that a suite without ELUDe does not import it.
    from methods.elude.products import AUTO, chosen_precision

    chosen = chosen_precision()
    # The rates that are not measured here are those of a GPU with TF32.
    precision = "tf32" if chosen == AUTO else chosen
    if "clustering" in rates.measured or precision == "float32":
        yield rated_step("clustering", job.method, flops, "clustering", rates)
    else:
        yield rated_step("clustering", f"{job.method}, {precision}", flops, f"clustering {precision}", rates)


def coding_flops(job: Job, layer: Layer) -> float:
    """Return the FLOPs of encoder and decoder per unit and token: a multiply-add, two FLOPs, per weight each."""
    return 2 * ((layer.d_in if job.reads_input else layer.d_out) + layer.d_out) + _pursuit_flops(job)


def coding_rate(rates: Rates) -> str:
    """Return the name of the rate of encoder and decoder."""
    only_products = "float32 products" in rates.measured and CODING not in rates.measured
    return "float32 products" if only_products else CODING


def _pursuit_flops(job: Job) -> float:
    """Return the FLOPs per unit and token that take as long as the steps of matching pursuit; 0 for other methods.

    A step reads a row of the Gram matrix and changes the correlations: 12 bytes per unit, which take as long as 600
    FLOPs at 3 TB/s and 150 TFLOP/s.
    """
    return 600.0 * (_setting(job.config, "k") or 1.0) if job.method == "matching_pursuit_sae" else 0.0


def _fit(job: Job, layer: Layer, rates: Rates) -> Iterator[Step]:
    """Yield the steps of a fit: reading its tokens, its work, and what it costs besides.

    A calibration measures that up to the first step, without saving the fit, and with few tokens.
    """
    flops = fit_flops(job, layer)
    if not flops:
        return
    is_trained = _setting(job.config, "epochs") is not None
    stage: Stage = "training" if is_trained else "clustering"
    width = layer.d_in if job.reads_input else layer.d_out
    yield rated_step(stage, "reading of tokens", float(job.n_tokens) * width * job.stored_bytes, "disk read", rates)
    preparation = f"preparation {job.method}"
    if preparation in rates.measured:
        size = units_of(job, layer) / CELL_UNITS * layer.d_out / CELL_WIDTH
        yield rated_step(stage, PREPARATION_STEP, size, preparation, rates)
    else:
        yield rated_step(stage, PREPARATION_STEP, 1.0, "fits", rates)
    if is_trained:
        yield rated_step("training", job.method, flops, f"training {job.method}", rates)
    else:
        yield from _clustering(job, flops, rates)
        umap = f"UMAP {getattr(job.config, 'umap_backend', '')}"
        if umap in DEFAULTS and _setting(job.config, "umap_dims") is not None:
            yield rated_step("clustering", umap, layer.d_out * instances_of(job), umap, rates)
