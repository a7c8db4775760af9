"""Measurement of one method in the network: time, paired with the backbone's, and memory."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from harness.backbones.base import Backbone
from harness.efficiency.integration import Step, check_reached, integrated, modes_of
from harness.efficiency.memory import Peak, peak_of
from harness.efficiency.protocol import Protocol
from harness.efficiency.timing import Clock, Paired, clock_of, paired
from methods.base import Method, Progress, no_progress

Compile = Callable[[Step], Step]


class ModeMeasurement(NamedTuple):
    """Time and memory of one mode of running a method, compiled or not."""

    mode: str
    """one of :func:`~harness.efficiency.integration.modes_of`"""
    compiled: bool
    times: Paired
    memory: Peak


class EfficiencyMeasurement(NamedTuple):
    """Measurements of all modes of running a method."""

    modes: list[ModeMeasurement]
    backbone_memory: Peak
    """peak of the unmodified network, not compiled, without tensors of the method on the device"""
    notes: list[str]
    """failures to measure, with the reason"""


def compile_step(step: Step) -> Step:
    """Compile a step with ``torch.compile``. Its default mode uses no CUDA graphs."""
    return torch.compile(step, dynamic=False)


def measure(
    method: Method,
    backbone: Backbone,
    path: str,
    images: Tensor,
    protocol: Protocol,
    *,
    clock: Clock | None = None,
    compiler: Compile = compile_step,
    modes: Collection[str] | None = None,
    progress: Progress = no_progress,
) -> EfficiencyMeasurement:
    """Time a fitted method in the network, in turns with the unmodified network, and measure the peaks of memory.

    Args:
        path: path of the layer that the method was fitted to.
        images: (B, 3, S, S) on the backbone's device; this batch is run repeatedly.
        protocol: number of batches, and whether to measure compiled networks too.
        clock: clock of the timings; None selects the clock for the device.
        compiler: function that compiles a step. If it raises, the measurement gets a note.
        modes: modes to measure; those that the method does not have are ignored. None: all.
        progress: called after each pair of batches.

    Raises:
        UserError: as :func:`~harness.efficiency.integration.check_reached`.
    """
    used = clock_of(backbone.device) if clock is None else clock
    check_reached(backbone, path, images)
    backbone_memory = _backbone_memory(method, backbone, images, protocol)
    measurements: list[ModeMeasurement] = []
    notes: list[str] = []
    for compiled in (False, True) if protocol.compiled else (False,):
        for mode in (mode for mode in modes_of(method) if modes is None or mode in modes):
            with integrated(backbone, path, method, mode) as changed, torch.inference_mode():
                reference: Step = backbone.features
                if compiled:
                    try:
                        reference, changed = _compiled(reference, changed, images, compiler)
                    except Exception as error:
                        # A compiler may raise any exception; the other measurements remain valid.
                        reason = (str(error).strip().splitlines() or [""])[0]
                        what = f" ({mode})" if mode else ""
                        notes.append(f"torch.compile failed{what}: {type(error).__name__}: {reason}")
                        continue
                times = paired(
                    partial(reference, images),
                    partial(changed, images),
                    used,
                    warmup=protocol.warmup,
                    repeats=protocol.repeats,
                    progress=progress,
                )
                memory = peak_of(_repeated(changed, images, protocol.memory_passes), images.device)
                measurements.append(ModeMeasurement(mode, compiled, times, memory))
    return EfficiencyMeasurement(measurements, backbone_memory, notes)


def _backbone_memory(method: Method, backbone: Backbone, images: Tensor, protocol: Protocol) -> Peak:
    method.to("cpu")
    try:
        with torch.inference_mode():
            # The first pass allocates workspaces that later passes reuse.
            backbone.features(images)
            return peak_of(_repeated(backbone.features, images, protocol.memory_passes), backbone.device)
    finally:
        method.to(backbone.device)


def _compiled(reference: Step, changed: Step, images: Tensor, compiler: Compile) -> tuple[Step, Step]:
    """Compile both steps, and run each once."""
    # Graphs of earlier methods would count towards the limit of recompilations per function.
    torch.compiler.reset()
    # Two separate functions, so that each has its own graphs.
    steps = compiler(lambda x: reference(x)), compiler(lambda x: changed(x))
    for step in steps:
        step(images)
    return steps


def _repeated(step: Step, images: Tensor, times: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(times):
            step(images)

    return run
