"""Requirement of disk space for the cache: of the whole suite, or of the targets that do not fit."""

from __future__ import annotations

from pathlib import Path

from harness.doctor.base import Check, Need
from harness.doctor.disk import cache_files, disk_bytes, targets_beyond
from harness.doctor.environment import free_bytes, used_bytes
from harness.doctor.workload import SizedTarget, sized_targets, sizes_known, target_key
from harness.suites import Suite
from results.byte_sizes import size_text

REMEDY = "Use a folder with more space: --cache FOLDER. Or run one table at a time and empty the cache in between."


def disk_needs(suite: Suite, cache: Path) -> list[Need]:
    """Return the requirement of space in the folder ``cache``; none if the size of the suite is unknown.

    If the suite does not fit, each target that exceeds the space is a requirement of its own, which stops this target
    only. Targets are kept in the order of the suite; those after one that does not fit are kept if they do.
    """
    if not sizes_known(suite):
        return []
    free = free_bytes(cache)
    # Files already in the cache need no new space. Which of them belong to this suite would be expensive to compute.
    space = free + used_bytes(cache)
    targets = sized_targets(suite)
    needed = disk_bytes(targets)
    if needed <= space:
        state = f"{size_text(needed)} for tokens and baselines, {size_text(free)} are free"
        return [Need(Check("disk", True, True, state), "nothing")]
    unique = {target_key(sized.leaf, sized.target): sized for sized in targets_beyond(targets, space)}
    return [_too_large(key, sized, needed, free) for key, sized in unique.items()]


def _too_large(key: str, sized: SizedTarget, needed: int, free: int) -> Need:
    target = sized.target
    layer = f"{target.backbone} at {target.site}" if target.site else target.backbone
    size = sum(cache_files(sized).required.values())
    # One state for all targets, so that they are displayed as one line.
    state = f"{size_text(needed)} for the tokens and baselines of all targets, {size_text(free)} are free"
    return Need(Check(f"disk space of {layer} ({size_text(size)})", False, True, state, REMEDY), "target", key)
