"""Activation maps as columns of a store, from this program and from somebody else."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from results import CellRecord, open_store
from results.store.unit_maps import MAX_BINS, MAX_MAPS, MAX_SIDE, pack, unit_maps, unpack

MAPS = np.random.default_rng(0).integers(0, 256, (3, 4, 4)).astype(np.uint8)


def test_packed_maps_are_given_back() -> None:
    unpacked = unpack(4, pack(MAPS), np.array([2, 1], np.int32))
    assert unpacked is not None
    assert np.array_equal(unpacked.maps, MAPS) and unpacked.peaks.tolist() == [2, 1]


def test_a_layer_without_a_grid_has_only_the_histogram() -> None:
    unpacked = unpack(0, None, [5])
    assert unpacked is not None
    assert unpacked.maps.shape == (0, 0, 0) and unpacked.peaks.tolist() == [5]


@pytest.mark.parametrize(
    ("side", "maps"),
    [
        (None, pack(MAPS)),
        ("4", pack(MAPS)),
        (-1, pack(MAPS)),
        (MAX_SIDE + 1, pack(MAPS)),
        (5, pack(MAPS)),  # 48 bytes are no maps of 25
        (4, b""),
        (4, b"no zlib"),
        (4, "text"),
        (4, zlib.compress(bytes(100_000_000))),  # a bomb
        (4, pack(np.zeros((MAX_MAPS + 1, 4, 4)))),
    ],
)
def test_columns_that_do_not_fit_together_are_no_maps(side: Any, maps: Any) -> None:
    assert unpack(side, maps, None) is None


def test_the_histogram_is_bounded() -> None:
    unpacked = unpack(0, None, np.ones(10_000, np.int32))
    assert unpacked is not None and len(unpacked.peaks) == MAX_BINS


def test_maps_are_stored_with_their_cell_and_forgotten_with_it(tmp_path: Path) -> None:
    store = open_store(tmp_path / "results.duckdb", read_only=False)
    cell = CellRecord(cell_id="c", status="finished", backbone="b", site="s", method="m")
    frame = pd.DataFrame(
        {
            "unit": np.array([3, 5], np.int32),
            "side": np.array([4, 4], np.int32),
            "maps": [pack(MAPS), pack(MAPS[:1])],
            "peaks": [np.array([1, 2], np.int32), np.array([], np.int32)],
        }
    )
    store.record(cell, unit_maps=frame)
    stored = unit_maps(store, "c", [3, 4, 5])
    assert sorted(stored) == [3, 5]
    assert np.array_equal(stored[3].maps, MAPS) and stored[3].peaks.tolist() == [1, 2]
    assert stored[5].maps.shape == (1, 4, 4)
    assert unit_maps(store, "c", []) == unit_maps(store, "d", [3]) == {}
    store.forget(["c"])
    assert store.query("SELECT * FROM unit_maps").empty
