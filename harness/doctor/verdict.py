"""Check before a run: the missing requirements of a suite, the command for each, and the part that runs without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness.devices import best_device
from harness.doctor.base import Check, Need, grouped
from harness.doctor.calibration.file import rates_here
from harness.doctor.disk_needs import disk_needs
from harness.doctor.estimate import SuiteEstimate, estimate, hours_text
from harness.doctor.memory import memory_needs
from harness.doctor.needs import backbone_key, head_key, method_key, needs
from harness.doctor.workload import target_key
from harness.errors import UserError
from harness.suites import Suite
from harness.suites.overrides import each_leaf, filter_leaves

#: Hours on a machine without a GPU above which a suite is called too slow.
SLOW_HOURS = 48.0


class SuiteExamination(NamedTuple):
    """Requirements and cost of a suite on this machine."""

    needs: list[Need]
    estimate: SuiteEstimate
    runs: list[str]
    """the part of it that can run without the missing requirements, in words"""


class RunnableSuite(NamedTuple):
    """Part of a suite that can run here."""

    suite: Suite
    left_out: list[str]
    """the parts that cannot run, with the reason"""


def examine_suite(
    suite: Suite, store: str | Path, *, device: str = "auto", cache: str | Path | None = None
) -> SuiteExamination:
    """Check everything that a suite needs. No weights are loaded, no images are read, nothing is downloaded."""
    cache_dir = cache_folder(store, cache)
    rates, note = rates_here(cache_dir, best_device(device))
    cost = estimate(suite, rates)
    if note:
        cost = cost._replace(notes=[*cost.notes, note])
    suite_needs = [
        *needs(suite),
        _device(device, cost),
        *memory_needs(suite, best_device(device)),
        *disk_needs(suite, cache_dir),
    ]
    return SuiteExamination(suite_needs, cost, _describe_runnable(suite, suite_needs))


def require(
    suite: Suite, store: str | Path, *, device: str = "auto", cache: str | Path | None = None, skip: bool = False
) -> RunnableSuite:
    """Refuse a suite that cannot finish here, before anything is computed; with ``skip``, drop the parts that cannot.

    With ``skip``, methods that the site does not suit are left out as well.

    Raises:
        UserError: if anything is missing; the message lists each missing item with its command, and what runs without.
    """
    if skip:
        suite = each_leaf(suite, _skipping_unsuitable)
    examined = examine_suite(suite, store, device=device, cache=cache)
    missing = [need for need in examined.needs if not need.check.ok and need.stops != "nothing"]
    if not missing:
        return RunnableSuite(suite, [])
    runnable = _without(suite, missing)
    if skip and runnable is not None:
        notes = [f"Skipped, because this is missing: {need.check.what} ({need.check.found})." for need in missing]
        return RunnableSuite(runnable, notes)
    raise UserError(_error_text(suite, examined, missing))


def cache_folder(store: str | Path, cache: str | Path | None) -> Path:
    """Return the folder of token sets, baselines and the calibration: ``cache``, or ``cache/`` beside the store."""
    return Path(cache or Path(store).parent / "cache").expanduser().absolute()


def _skipping_unsuitable(suite: Suite) -> Suite:
    targets = tuple(target.model_copy(update={"skip_unsuitable": True}) for target in suite.targets)
    return suite.model_copy(update={"targets": targets})


def _error_text(suite: Suite, examined: SuiteExamination, missing: Sequence[Need]) -> str:
    """Return the error message for a suite that cannot run: missing items, their remedies, and the runnable part."""
    count = f"{len(missing)} requirement{'s are' if len(missing) > 1 else ' is'}"
    lines = [f"{suite.name} cannot run here: {count} missing."]
    for check in grouped(need.check for need in missing):
        lines.append(f"  MISS  {check.what}: {check.found}")
        if check.remedy:
            lines.append(f"        {check.remedy}")
    lines += [f"  {sentence}" for sentence in examined.runs]
    lines.append("  `harness doctor` with the same options shows all requirements and the estimated cost.")
    return "\n".join(lines)


def _describe_runnable(suite: Suite, suite_needs: Sequence[Need]) -> list[str]:
    """Return sentences about the part of the suite that can run without the missing requirements."""
    missing = [need for need in suite_needs if not need.check.ok]
    if not missing:
        return []
    without: dict[str, list[str]] = {}
    for need in missing:
        if need.without:
            without.setdefault(need.without, []).append(need.check.what)
    sentences = [f"Without {' and '.join(absent)}: {part}." for part, absent in without.items()]
    if all(need.stops == "nothing" for need in missing):
        return sentences
    runnable = _without(suite, missing)
    if runnable is None:
        return ["No part of the suite can run here. To try it at reduced size: --scale tiny.", *sentences]
    names = ", ".join(leaf.name for leaf in runnable.leaves)
    cells, all_cells = estimate(runnable).cells, estimate(suite).cells
    return [f"With --skip-missing, {cells} of {all_cells} cells can run ({names}).", *sentences]


def _without(suite: Suite, missing: Sequence[Need]) -> Suite | None:
    """Return the suite without the parts that the needs stop, or None if nothing is left."""
    if any(need.stops == "all" for need in missing):
        return None
    backbones = {need.key for need in missing if need.stops == "backbone"}
    heads = {need.key for need in missing if need.stops == "head"}
    entries = {need.key for need in missing if need.stops == "method"}
    stopped = {need.key for need in missing if need.stops == "target"}

    def runnable(leaf: Suite) -> Suite | None:
        targets = []
        for target in leaf.targets:
            listed = leaf.methods_of(target)
            remaining = tuple(entry for entry in listed if method_key(entry) not in entries)
            if backbone_key(target) in backbones or head_key(target) in heads or not remaining:
                continue
            if stopped and target_key(leaf, target) in stopped:
                continue
            changed = target.model_copy(update={"methods": remaining, "settings": {}})
            targets.append(target if remaining == listed else changed)
        return leaf.model_copy(update={"targets": tuple(targets)}) if targets else None

    return filter_leaves(suite, runnable)


def _device(device: str, cost: SuiteEstimate) -> Need:
    """Return the requirement of a GPU, which a suite without long computations does not have."""
    import torch

    chosen = best_device(device)
    if chosen != "cpu":
        return Need(Check("a GPU", True, False, torch.cuda.get_device_name(torch.device(chosen))), "nothing")
    hours = cost.gpu_hours
    threads = torch.get_num_threads()
    state = f"none is used; {threads} CPU thread{'s' if threads > 1 else ''}"
    if hours is None or hours <= 0.5:
        return Need(Check("a GPU", True, False, f"{state}, which is enough for this suite"), "nothing")
    if cost.calibrated:
        if hours <= SLOW_HOURS:
            return Need(Check("a GPU", True, False, f"{state}: about {hours_text(hours)} for this suite"), "nothing")
        remedy = f"It takes about {hours_text(hours)} here: run it on a machine with a GPU."
    else:
        remedy = f"About {hours_text(hours)} on an H200 would be months here: run it on a machine with a GPU."
    slowly = "the suite runs, but too slowly to be useful"
    return Need(Check("a GPU", False, False, state, remedy), "nothing", without=slowly)
