"""Check before a run: the missing requirements of a suite, the command for each, and the part that runs without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness.doctor.base import Check, Need, grouped
from harness.doctor.environment import free_bytes, used_bytes
from harness.doctor.estimate import Estimate, estimate
from harness.doctor.needs import backbone_key, method_key, needs
from harness.errors import UserError
from harness.suites import Suite


class Examined(NamedTuple):
    """Requirements and cost of a suite on this machine."""

    needs: list[Need]
    estimate: Estimate
    runs: list[str]
    """the part of it that can run without the missing requirements, in words"""


class Able(NamedTuple):
    """Part of a suite that can run here."""

    suite: Suite
    left_out: list[str]
    """the parts that cannot run, with the reason"""


def examine_suite(suite: Suite, store: Path, *, device: str = "auto", cache: Path | None = None) -> Examined:
    """Check everything that a suite needs. No weights are loaded, no images are read, nothing is downloaded."""
    takes = estimate(suite)
    found = [*needs(suite), _device(device, takes), *_room(store, cache, takes)]
    return Examined(found, takes, _what_runs(suite, found))


def require(suite: Suite, store: Path, *, device: str = "auto", cache: Path | None = None, skip: bool = False) -> Able:
    """Refuse a suite that cannot finish here, before anything is computed; with ``skip``, drop the parts that cannot.

    Raises:
        UserError: if anything is missing; the message lists each missing item with its command, and what runs without.
    """
    examined = examine_suite(suite, store, device=device, cache=cache)
    missing = [need for need in examined.needs if not need.check.ok and need.stops != "nothing"]
    if not missing:
        return Able(suite, [])
    some = [need for need in missing if need.stops in ("backbone", "method")]
    left = _without(suite, some)
    if skip and left is not None and len(some) == len(missing):
        return Able(left, [f"Left out, for want of {need.check.what} ({need.check.found})." for need in some])
    raise UserError(_screen(suite, examined, missing))


def check(suite: Suite, store: str | Path, *, device: str = "auto", cache: str | Path | None = None) -> None:
    """Raise UserError if a suite cannot finish here. For :func:`harness.run.run`."""
    require(suite, Path(store), device=device, cache=None if cache is None else Path(cache))


def _screen(suite: Suite, examined: Examined, missing: Sequence[Need]) -> str:
    lines = [f"{suite.name} cannot run here: {len(missing)} thing{'s are' if len(missing) > 1 else ' is'} missing."]
    for check in grouped(need.check for need in missing):
        lines.append(f"  MISS  {check.what}: {check.found}")
        if check.remedy:
            lines.append(f"        {check.remedy}")
    lines += [f"  {sentence}" for sentence in examined.runs]
    lines.append("  `harness doctor` with the same options shows everything it needs, and what it takes.")
    return "\n".join(lines)


_NOTHING = "Nothing of it can run as things are. At reduced size, to see it work: --scale tiny."


def _what_runs(suite: Suite, found: Sequence[Need]) -> list[str]:
    missing = [need for need in found if not need.check.ok]
    if not missing:
        return []
    without: dict[str, list[str]] = {}
    for need in missing:
        if need.without:
            without.setdefault(need.without, []).append(need.check.what)
    sentences = [f"Without {' and '.join(things)}: {what}." for what, things in without.items()]
    some = [need for need in missing if need.stops in ("backbone", "method")]
    if any(need.stops == "all" for need in missing):
        return [_NOTHING, *sentences]
    if not some:
        return sentences
    left = _without(suite, some)
    if left is None:
        return [_NOTHING, *sentences]
    names = ", ".join(leaf.name for leaf in left.leaves)
    cells, all_cells = estimate(left).cells, estimate(suite).cells
    return [f"With --skip-missing {cells} of {all_cells} cells can run, of {names}.", *sentences]


def _without(suite: Suite, missing: Sequence[Need]) -> Suite | None:
    """Return the suite without the parts that the needs stop, or None if nothing is left."""
    backbones = {need.key for need in missing if need.stops == "backbone"}
    entries = {need.key for need in missing if need.stops == "method"}
    if suite.parts:
        parts = [left for part in suite.parts if (left := _without(part, missing)) is not None]
        return suite.model_copy(update={"parts": tuple(parts)}) if parts else None
    targets = []
    for target in suite.targets:
        if backbone_key(target) in backbones:
            continue
        listed = suite.methods_of(target)
        kept = tuple(entry for entry in listed if method_key(entry) not in entries)
        if kept == listed:
            targets.append(target)
        elif kept:
            targets.append(target.model_copy(update={"methods": kept, "settings": {}}))
    return suite.model_copy(update={"targets": tuple(targets)}) if targets else None


def _device(device: str, takes: Estimate) -> Need:
    import torch

    from harness.devices import best_device

    chosen = best_device(device)
    if chosen != "cpu":
        return Need(Check("a GPU", True, False, torch.cuda.get_device_name(torch.device(chosen))), "nothing")
    hours = takes.gpu_hours
    slow = hours is not None and hours > 0.5
    threads = torch.get_num_threads()
    found = f"none is used; {threads} CPU thread{'s' if threads > 1 else ''}"
    if not slow:
        return Need(Check("a GPU", True, False, f"{found}, which is enough for this suite"), "nothing")
    remedy = f"What takes about {hours:.0f} hours on an H100 takes months here: run it on a machine with a GPU."
    return Need(Check("a GPU", False, False, found, remedy), "nothing", "", "it runs, too slowly to be of use")


def _room(store: Path, cache: Path | None, takes: Estimate) -> list[Need]:
    if takes.disk_bytes is None:
        return []
    place = (cache or store.parent / "cache").expanduser().absolute()
    free = free_bytes(place)
    # Files already in the cache need no new space; how many of them belong to this suite is not known cheaply.
    there = used_bytes(place)
    ok = takes.disk_bytes <= free + there
    found = f"{takes.disk_bytes / 2**30:.1f} GiB for tokens and baselines, {free / 2**30:.1f} GiB are free"
    remedy = "" if ok else "Give a place with more room: --cache FOLDER; or run table by table and empty it between."
    return [Need(Check("disk", ok, True, found, remedy), "all")]
