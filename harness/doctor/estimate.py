"""Estimate of a suite's cost: cells, disk, time per step, questions to judges. Nothing is loaded or run."""

from __future__ import annotations

from typing import NamedTuple

from harness.doctor.disk import all_state_bytes, disk_bytes
from harness.doctor.rates import Rates
from harness.doctor.steps import Step
from harness.doctor.suite_steps import steps_of
from harness.doctor.workload import workload_of
from harness.suites import Suite


class SuiteEstimate(NamedTuple):
    """Cost of a suite. A value is None if it is not known without loading the backbones or reading the images."""

    cells: int
    """cells of the tables, each counted once"""
    sweep_cells: int
    """cells of the sweeps before them"""
    disk_bytes: int | None
    """size of tokens and baselines"""
    state_bytes: int | None
    """size of the states before the layers, which are kept if the disk has room"""
    gpu_hours: float | None
    """sum of the steps: on this machine if it was calibrated, else on an H200"""
    judge_calls: int
    """calls of all judges together, controls included; an upper bound, as ties of settings are not known yet"""
    notes: list[str]
    steps: tuple[Step, ...] = ()
    """time of each step, without judges"""
    calibrated: bool = False
    """True if the times are of this machine"""


def estimate(suite: Suite, rates: Rates | None = None) -> SuiteEstimate:
    """Estimate the cost of a suite, with each shared cell, token set and baseline counted once.

    Args:
        rates: rates of the machine; default: those of an H200, measured or assumed.
    """
    rates = rates or Rates()
    workload = workload_of(suite)
    unknown = sorted({sized.target.backbone for sized in workload.targets if sized.layer is None})
    notes = []
    if unknown:
        notes.append(f"Disk and time exclude {', '.join(unknown)}: the layer is unknown until the backbone is loaded.")
    if not workload.sizes_known:
        notes.append("No estimate of disk and time: the number of images is unknown until they are read.")
    steps = tuple(steps_of(workload, rates)) if workload.sizes_known else ()
    return SuiteEstimate(
        cells=len(workload.final),
        sweep_cells=len(workload.swept),
        disk_bytes=disk_bytes(workload.targets) if workload.sizes_known else None,
        state_bytes=all_state_bytes(workload.targets) if workload.sizes_known else None,
        gpu_hours=sum(step.seconds for step in steps) / 3600 if workload.sizes_known else None,
        judge_calls=sum(_calls(leaf) for leaf in suite.leaves),
        notes=notes,
        steps=steps,
        calibrated=rates.calibrated,
    )


def hours_text(hours: float) -> str:
    """Return a duration in words: "minutes", "2.5 hours", "300 hours", "1.2e+03 years"."""
    years = hours / (24 * 365.25)
    if years >= 10:
        return f"{years:.0f} years" if years < 1000 else f"{years:.2g} years"
    return f"{hours:.0f} hours" if hours >= 10 else f"{hours:.1f} hours" if hours >= 0.1 else "minutes"


def _calls(leaf: Suite) -> int:
    """Return an upper bound of the number of calls of all judges."""
    if leaf.judging is None:
        return 0
    judges = len(leaf.judging.judges) or 3
    total = 0
    for target in leaf.targets:
        n = len(leaf.methods_of(target))
        presentations = n * (n - 1) // 2 * leaf.judging.pairs * 2 * len(leaf.token_seeds_of(target))
        total += (presentations + leaf.judging.controls) * judges
    return total
