"""Efficiency in the format of the paper's Table 5: one row for each way to run a method, the backbone alone first.

Rows of other devices, precisions, batches or counts are in separate tables. Needs no torch.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from results.store.canonical import canonical_json
from results.store.records import grouped, records_of, scores_by_metric
from results.tables import Table

if TYPE_CHECKING:
    from results.store import Store

RATIO = "efficiency_ratio"
#: Suffixes of the scores -> what is run.
WAYS: Mapping[str, str] = {
    "": "encode and decode",
    "_materialised": "sub-units summed",
    "_all_units": "all sub-units read",
}
_UNEDITED = "unedited"
_COMPILED = "_compiled"


class Way(NamedTuple):
    """One way to run one method, of one cell."""

    backbone: str
    site: str
    conditions: Mapping[str, Any]
    """device, dtype, counts, ...: conditions that two rows must share to be compared"""
    label: str
    way: str
    """mode of running: "encode and decode", "unedited", "sub-units summed", "all sub-units read" """
    compiled: bool
    ratio: float
    """median over pairs of (time with the method) / (time of the backbone)"""
    low: float | None
    """lower end of the 95 % interval"""
    high: float | None
    n_pairs: int
    latency_ms: float
    backbone_ms: float
    memory_mb: float | None
    backbone_memory_mb: float | None
    macs: float
    """G per image"""
    backbone_macs: float
    parameters: float
    """millions, in addition to the network's own"""
    cell_id: str


def ways(store: Store, *, backbone: str | None = None, site: str | None = None) -> list[Way]:
    """Return every way that was timed, the fastest first; two cells of the same kind are both listed.

    Raises:
        StoreError: the store cannot be read.
    """
    cells = {cell["cell_id"]: cell for cell in records_of(store.cells(backbone=backbone, site=site))}
    timed_ways = []
    for cell_id, cell_scores in scores_by_metric(store.scores(backbone=backbone, site=site)).items():
        timed = [name for name, score in cell_scores.items() if name.startswith(RATIO) and score["value"] is not None]
        cell_ways = (_way(cells[cell_id], cell_scores, metric.removeprefix(RATIO)) for metric in timed)
        timed_ways += [way for way in cell_ways if way is not None]
    return sorted(timed_ways, key=lambda way: (way.backbone, way.site, way.compiled, way.ratio))


def _way(cell: Mapping[str, Any], scores: Mapping[str, Mapping[str, Any]], suffix: str) -> Way | None:
    """Return one way; None if the store lacks a number of it, or has something else in its place."""
    mode = suffix.removesuffix(_COMPILED)
    memory = scores.get("peak_memory" + suffix)
    ratio, latency, macs, parameters = (
        scores.get(name) or {} for name in (RATIO + suffix, "latency_ms" + suffix, "macs" + mode, "parameters")
    )
    timing, counting = ratio.get("details") or {}, macs.get("details") or {}
    numbers = (
        *(score.get("value") for score in (ratio, latency, macs, parameters)),
        *(ratio.get("n"), timing.get("backbone_latency_ms"), counting.get("backbone")),
    )
    interval = timing.get("interval") or [None, None]
    if not all(map(_is_number, numbers)) or not counting["backbone"] or len(interval) != 2:
        return None
    low, high = (value if _is_number(value) else None for value in interval)
    is_split = f"{RATIO}_materialised{suffix.removeprefix(mode)}" in scores
    return Way(
        backbone=cell["backbone"],
        site=cell["site"],
        conditions=ratio["params"] or {},
        label=cell["label"],
        way=_UNEDITED if is_split and not mode else WAYS.get(mode, mode.strip("_")),
        compiled=bool(timing.get("compiled")),
        ratio=ratio["value"],
        low=low,
        high=high,
        n_pairs=int(ratio["n"]),
        latency_ms=latency["value"],
        backbone_ms=timing["backbone_latency_ms"],
        memory_mb=None if memory is None else memory["value"],
        backbone_memory_mb=None if memory is None else (memory["details"] or {}).get("backbone_mb"),
        macs=macs["value"],
        backbone_macs=counting["backbone"],
        parameters=parameters["value"],
        cell_id=cell["cell_id"],
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def tables(timed_ways: Iterable[Way]) -> list[Table]:
    """Return one table for each backbone, site and set of conditions."""
    groups = grouped(timed_ways, lambda way: (way.backbone, way.site, way.compiled, canonical_json(way.conditions)))
    return [_table(group) for group in groups.values()]


def _table(timed_ways: Sequence[Way]) -> Table:
    head = timed_ways[0]
    reference = statistics.median(way.backbone_ms for way in timed_ways)
    memories = [way.backbone_memory_mb for way in timed_ways if way.backbone_memory_mb is not None]
    memory = f"{statistics.median(memories):.0f}" if memories else ""
    rows = [["the network alone", "", "1", "", "1", f"{reference:.1f}", memory, f"{head.backbone_macs:.3f}", ""]]
    for way in timed_ways:
        interval = "" if way.low is None or way.high is None else f"[{way.low:.3f}, {way.high:.3f}]"
        rows.append(
            [
                way.label,
                way.way,
                f"{way.ratio:.3f}",
                interval,
                f"{way.macs / way.backbone_macs:.3f}",
                f"{way.latency_ms:.1f}",
                "" if way.memory_mb is None else f"{way.memory_mb:.0f}",
                f"{way.macs:.3f}",
                f"{way.parameters:.2f}",
            ]
        )
    compiled = "torch.compile" if head.compiled else "not compiled"
    conditions = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in head.conditions.items())
    return Table(
        f"{head.backbone} · {head.site}, {compiled}",
        ("method", "runs as", "ratio", "95 % interval", "MAC ratio", "ms/batch", "peak MB", "GMAC/image", "M params"),
        rows,
        (False, False, True, True, True, True, True, True, True),
        [
            f"{conditions}.",
            "ratio: median over pairs of batches of the time with the method over that of the network alone, timed in "
            "turn; compare methods by it. ms/batch is of one run and depends on the load of the machine.",
            "MAC ratio: the same ratio of multiply-accumulates, which does not depend on the machine.",
        ],
    )


def ways_json(timed_ways: Iterable[Way]) -> list[dict[str, Any]]:
    """Return the ways as JSON content."""
    return [{**way._asdict(), "conditions": dict(way.conditions)} for way in timed_ways]
