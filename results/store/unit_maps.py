"""Activation maps of units: where on its top images a unit is active, and how strongly.

A map has one byte per cell of the token grid; 255 is the unit's largest activation on the whole split. Only some units
have maps, because a run stores a fixed number of bytes per cell. The store of somebody else may hold anything in these
columns, so nothing is unpacked beyond the sizes below.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from results.store.store import Store

#: Maps per unit: the images of a 3 x 3 grid.
MAX_MAPS = 9
#: Cells of a map along a side. A finer token grid is pooled to at most this many by its maximum.
MAX_SIDE = 16
#: Entries of the histogram of an image's maximum: half octaves below the unit's largest activation.
MAX_BINS = 24


class UnitMaps(NamedTuple):
    """Pictures of one unit."""

    maps: np.ndarray
    """(k, side, side) uint8, k at most :data:`MAX_MAPS`: the top images, strongest first; (0, 0, 0) without a grid"""
    peaks: np.ndarray
    """(n,) int64, n at most :data:`MAX_BINS`: images whose maximum is in each half octave below the largest one"""


def pack(maps: np.ndarray) -> bytes:
    """Return maps (k, side, side) uint8 as the column `maps`."""
    return zlib.compress(np.ascontiguousarray(maps, dtype=np.uint8).tobytes(), 6)


def unpack(side: Any, maps: Any, peaks: Any) -> UnitMaps | None:
    """Return the pictures in columns of the table `unit_maps`; None if they do not fit together."""
    if not isinstance(side, (int, np.integer)) or not 0 <= side <= MAX_SIDE:
        return None
    counts = np.asarray([] if peaks is None else np.ma.filled(peaks, 0), dtype=np.int64)[:MAX_BINS]
    if side == 0 or maps is None:
        return UnitMaps(np.zeros((0, 0, 0), np.uint8), counts)
    if not isinstance(maps, (bytes, bytearray)):
        return None
    most = MAX_MAPS * int(side) ** 2
    try:
        content = zlib.decompressobj().decompress(bytes(maps), most + 1)
    except zlib.error:
        return None
    if not content or len(content) > most or len(content) % int(side) ** 2:
        return None
    return UnitMaps(np.frombuffer(content, np.uint8).reshape(-1, int(side), int(side)), counts)


def unit_maps(store: Store, cell_id: str, units: Sequence[int]) -> dict[int, UnitMaps]:
    """Return unit -> its pictures, for those of `units` of a cell that have some.

    Raises:
        StoreError: the store cannot be read.
    """
    if not units:
        return {}
    frame = store.query(
        "SELECT unit, any_value(side) AS side, any_value(maps) AS maps, any_value(peaks) AS peaks FROM unit_maps "
        "WHERE cell_id = ? AND unit IN (SELECT unnest(?::INTEGER[])) GROUP BY unit",
        [cell_id, [int(unit) for unit in units]],
    )
    unpacked = {
        int(unit): unpack(side, maps, peaks)
        for unit, side, maps, peaks in frame[["unit", "side", "maps", "peaks"]].itertuples(index=False, name=None)
    }
    return {unit: content for unit, content in unpacked.items() if content is not None}
