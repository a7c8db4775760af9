"""All steps of a suite: passes and cells, timings of the network, and matching of units."""

from __future__ import annotations

import math
from collections.abc import Iterator

from harness.devices import matched_at_once
from harness.doctor.rates import Rates
from harness.doctor.steps import (
    CELL_UNITS,
    Step,
    add_up,
    coding_flops,
    coding_rate,
    job_steps,
    pass_steps,
    rated_step,
    units_of,
)
from harness.doctor.workload import Job, Workload
from methods import METHODS

#: Metric that times the network by a protocol of its own.
TIMED_METRIC = "efficiency_ratio"
#: Step of the timings.
TIMING_STEP = "timing in the network"


def steps_of(workload: Workload, rates: Rates) -> list[Step]:
    """Return the steps of a suite, with equal ones added up; files and passes that targets share are counted once."""
    steps = [step for _, of_target in pass_steps(workload, rates) for step in of_target]
    for job in (*workload.final, *workload.swept):
        steps += job_steps(job, rates)
        steps += timing_steps(job, rates)
    steps += matching_steps(workload, rates)
    return add_up(steps)


def timing_steps(job: Job, rates: Rates) -> Iterator[Step]:
    """Yield the timing protocol of a cell that measures :data:`TIMED_METRIC`: both networks in turns, in each mode.

    Compiled networks count as the others do, and their compilation besides.
    """
    layer = job.layer
    if layer is None or TIMED_METRIC not in (job.metrics or ()):
        return
    # Here, so that other suites do not import torch.
    from harness.efficiency.protocol import CPU, CUDA

    spec = METHODS.get(job.method).spec
    if spec.virtual:
        return
    protocol = CUDA if rates.overlapping else CPU
    # A split is timed unedited, with materialised weights, and with all units read.
    splits = spec.needs_weights
    modes = 3 if splits else 1
    variants = 2 if protocol.compiled else 1
    images = float(variants * (protocol.warmup + protocol.repeats) * protocol.batch_size)
    forward = 2 * modes * images * layer.gflops * 1e9
    yield rated_step("evaluation", TIMING_STEP, forward, f"network {layer.architecture}", rates)
    # Unedited, a split adds nothing to the network.
    coded = (2 if splits else 1) * images * layer.tokens * (job.n_units or units_of(job, layer))
    yield rated_step("evaluation", TIMING_STEP, coded * coding_flops(job, layer), coding_rate(rates), rates)
    if protocol.compiled:
        yield rated_step("evaluation", "compilation of networks", 2.0 * modes, "compilation", rates)


def matching_steps(workload: Workload, rates: Rates) -> Iterator[Step]:
    """Yield the matching of units between fits of several seeds, whose time grows with the cube of their number.

    Several pairs of a group are matched at a time. Splits are left out: their units are matched within each neuron,
    which is quick.
    """
    # One cell of each line of a suite on each of its layers.
    lines = {(id(job.sized), id(job.entry)): job for job in workload.final}
    for job in lines.values():
        if job.layer is None or job.sized is None or job.method == "identity":
            continue
        if METHODS.get(job.method).spec.needs_weights:
            continue
        leaf, target = job.sized.leaf, job.sized.target
        seeds = leaf.token_seeds_of(target)
        groups = [seeds, leaf.stability.init] if leaf.stability else [seeds]
        rounds = sum(_rounds(math.comb(len(group), 2), rates) for group in groups)
        size = ((job.n_units or units_of(job, job.layer)) / CELL_UNITS) ** 3
        yield rated_step("evaluation", "matching of units", rounds * size, "matching", rates)


def _rounds(n_pairs: int, rates: Rates) -> int:
    """Return how many pairs are matched one after another; a machine with a GPU is assumed to have four cores."""
    return math.ceil(n_pairs / matched_at_once(n_pairs, 4 if rates.overlapping else None))
