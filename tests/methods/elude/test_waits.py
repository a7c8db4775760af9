"""Numbers that a clustering reads from the device: each waits for it, so there are not more of them for more tiles."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from methods.elude import near_points
from methods.elude.clustering import unit_rows
from methods.elude.core_distances import core_squares
from methods.elude.near_points import ListSizes, core_squares_of_triangle
from methods.elude.tiled import hopeful_rows
from methods.elude.tiles import Tiles

#: Operations whose result the host needs: a number, and a tensor whose size depends on the values of another.
WAITING = {"aten::_local_scalar_dense", "aten::nonzero"}


class Waits(TorchDispatchMode):
    """Count of the operations for which a GPU would make the host wait."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func._schema.name in WAITING
        return func(*args, **(kwargs or {}))


class Lists:
    """The kernel that fills the lists of near points, as operations that are not counted."""

    def keep_near(
        self,
        dots: Tensor,
        norms: Tensor,
        limits: Tensor,
        first: tuple[int, int],
        counts: Tensor,
        values: Tensor,
        columns: Tensor,
    ) -> None:
        rows, others = (start + torch.arange(length) for start, length in zip(first, dots.shape, strict=True))
        squares = (norms[rows][:, None] + norms[others] - 2.0 * dots).clamp_min(0.0)
        squares[rows[:, None] == others] = 0.0
        sides = [(rows, others, squares), (others, rows, squares.T)]
        for points, near, distances in sides if first[0] != first[1] else sides[:1]:
            within = distances <= limits[points][:, None]
            slots = counts[points][:, None] + within.cumsum(1) - 1
            kept = within & (slots < values.shape[1])
            row = points[:, None].expand_as(kept)[kept]
            values[row, slots[kept]] = distances[kept]
            columns[row, slots[kept]] = near.expand_as(kept)[kept].int()
            counts[points] += within.sum(1).int()


@pytest.fixture
def x() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randn(4, 16, generator=generator)[torch.randint(4, (400,), generator=generator)]
    return unit_rows(kinds + 0.3 * torch.randn(400, 16, generator=generator))[0]


def test_pairs_of_components_need_as_many_waits_for_many_tiles_as_for_one(x: Tensor) -> None:
    component, core = torch.arange(400) % 4, torch.zeros(400, dtype=torch.float64)
    waits = []
    for memory_bytes in (1 << 14, 1 << 24):
        tiles = Tiles(x, memory_bytes)
        with Waits() as counted:
            hopeful_rows(tiles, core, component, 4)
        waits.append((400 // tiles.tile_side, counted.count))
    assert waits[0][0] > 10 and waits[1][0] < 1
    assert 0 < waits[0][1] == waits[1][1] < 5


def test_lists_are_searched_for_failures_once(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = ListSizes(sample=400, rank=30, capacity=60)
    expected, _ = core_squares(Tiles(x, 1 << 24), 10)
    waits = []
    for memory_bytes, blocks in ((1 << 14, 1), (1 << 24, 1), (1 << 24, 10)):
        monkeypatch.setattr(near_points, "BLOCK", 400 // blocks * sizes.capacity)
        tiles = Tiles(x, memory_bytes)
        with Waits() as counted:
            core, _ = core_squares_of_triangle(tiles, 10, sizes, Lists())  # type: ignore[arg-type]
        torch.testing.assert_close(core, expected, rtol=1e-13, atol=0)
        waits.append(counted.count)
    assert 0 < waits[0] == waits[1] < 5, "independent of the number of tiles"
    assert waits[2] == waits[1] + 9, "one for each further block of lists"
