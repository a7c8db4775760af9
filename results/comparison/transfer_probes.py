"""Probes of one fit on two image sets: sparse probes on both, and a probe of the first set on the second one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from results.boards.board import HALF_WIDTH
from results.boards.share_intervals import images_behind, share_at
from results.store import Store

#: Score of sparse probes, score of the probe that is carried over, its gain over the layer's neurons, and the gain less
#: that on the first set.
SPARSE, PROBE, GAIN, CHANGE = "sparse_probe_k", "probe_transfer", "probe_transfer_gain", "probe_transfer_gain_change"
#: Sides of a 95 % interval, in standard errors.
SIDES = np.array([-HALF_WIDTH, HALF_WIDTH])


class ProbeTransfers(NamedTuple):
    """Probes on two sets. Each value is NaN if a cell has no such score."""

    sparse_first: float
    """``sparse_probe_k`` on the first set; NaN as well if the second set has none that is comparable"""
    sparse_second: float
    """the same units and probes, chosen and fitted on the probing images of the fit, on the second set's images in
    classes of the first: another mixture of classes, if the sets do not share all of them"""
    probe_first: float
    """accuracy of the probe of ``probe_transfer`` on the first set's evaluation images of the shared classes"""
    probe: float
    """``probe_transfer``: accuracy on the second set of a probe that was fitted on the first one"""
    probe_low: float
    """Wilson's 95 % interval"""
    probe_high: float
    gain: float
    """``probe_transfer_gain``: the same less the accuracy of a probe on the layer's neurons"""
    gain_low: float
    """95 % interval of the paired difference over images"""
    gain_high: float
    change: float
    """``probe_transfer_gain_change``: the gain less that on the first set"""
    change_low: float
    """95 % interval; the images of the two sets are taken for different ones"""
    change_high: float


def probe_transfers(store: Store, first: Sequence[str], second: Sequence[str]) -> ProbeTransfers:
    """Return the probes of one fit on two sets.

    Args:
        store: the store.
        first: ids of the cells on the set of the fit. They may differ in their metrics.
        second: ids of the cells on the further set.

    Raises:
        StoreError: if the store cannot be read.
    """
    sides = [_scores(store, cells) for cells in (first, second)]
    # Scores of other versions or parameters measure something else.
    common = [key for key in sides[0] if key[0] == SPARSE and key in sides[1]]
    sparse = [_number(side[max(common)]["value"]) for side in sides] if common else [math.nan, math.nan]
    probe, gain, change = (_newest(sides[1], metric) for metric in (PROBE, GAIN, CHANGE))
    value, error, n = (_number(probe.get(name)) for name in ("value", "uncertainty", "n"))
    low = high = math.nan
    if 0 <= value <= 1 and error >= 0 and n >= 1:
        low, high = share_at(value, images_behind(value, error, n), SIDES).tolist()
    details = probe.get("details")
    on_first = _number(details.get("first")) if isinstance(details, dict) else math.nan
    sparse_first, sparse_second = sparse
    return ProbeTransfers(sparse_first, sparse_second, on_first, value, low, high, *_normal(gain), *_normal(change))


def _normal(score: Mapping[str, Any]) -> tuple[float, float, float]:
    """Return the value of a score and its normal 95 % interval."""
    value, error = (_number(score.get(name)) for name in ("value", "uncertainty"))
    if not error >= 0:
        return value, math.nan, math.nan
    return value, _number(value - HALF_WIDTH * error), _number(value + HALF_WIDTH * error)


def _scores(store: Store, cells: Sequence[str]) -> dict[tuple[str, float, str], Mapping[str, Any]]:
    """Return (metric, version, hash of the parameters) -> score, of the first cell that has it."""
    made: dict[tuple[str, float, str], Mapping[str, Any]] = {}
    for cell_id in cells:
        for score in store.scores(cell_id=cell_id).to_dict("records"):
            version = _number(score["version"])
            if not math.isnan(version):
                made.setdefault((str(score["metric"]), version, str(score["params_hash"])), score)
    return made


def _newest(scores: Mapping[tuple[str, float, str], Mapping[str, Any]], metric: str) -> Mapping[str, Any]:
    keys = [key for key in scores if key[0] == metric]
    return scores[max(keys)] if keys else {}


def _number(value: Any) -> float:
    """Return a finite number of a store, or NaN."""
    number = float(value) if isinstance(value, int | float | np.number) else math.nan
    return number if math.isfinite(number) else math.nan
