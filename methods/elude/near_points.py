"""Core distances from one triangle of the squared distance matrix, on a GPU: half the products of whole strips.

A sample of columns estimates how far the k-th nearest neighbour of each point is. Each tile on one side of the diagonal
is then computed once, and adds its near pairs to the lists of both points. A list that proves too short or too long is
replaced by that of its whole row, so the estimate changes the time only.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from methods.elude.core_distances import core_squares
from methods.elude.fused import Kernels
from methods.elude.kernels import SAME
from methods.elude.spanning_tree import slices
from methods.elude.tiles import Tiles

# Points of the sample that are expected within a core distance, and standard deviations between the estimate and the
# limit of a list: one list in a few thousand is then too short. A larger sample gives shorter lists and costs more.
HITS, DEVIATIONS = 32, 4.0
# Length of the lists, as a multiple of the length that is expected.
ROOM = 1.35
# Entries of the lists that are processed together.
BLOCK = 1 << 25


class ListSizes(NamedTuple):
    """Columns of the sample, the rank in it that is the limit of a list, and the length of the lists."""

    sample: int
    rank: int
    capacity: int


def list_sizes(n: int, k: int, memory_bytes: int) -> ListSizes | None:
    """Return the sizes for n points and k neighbours; None if whole strips are cheaper or the lists need more memory.

    Lists take 8 bytes per entry while distances are computed, and 4 afterwards.
    """
    sample = math.ceil(HITS * n / (k + 1))
    rank = math.ceil(HITS + DEVIATIONS * math.sqrt(HITS))
    capacity = math.ceil(ROOM * rank * n / sample)
    # If k is close to n, the lists would be as long as the rows, and the sample has fewer columns than the rank.
    if sample > n // 4 or capacity >= n or 8 * capacity * n > memory_bytes:
        return None
    return ListSizes(sample, rank, capacity)


def core_squares_of_triangle(
    tiles: Tiles, k: int, sizes: ListSizes, kernels: Kernels
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return squared core distances (n,) float64, and points within them (n, m) int32, in any order, padded with n."""
    n, device = tiles.n, tiles.x.device
    limits = list_limits(tiles, sizes)
    counts = torch.zeros(n, dtype=torch.int32, device=device)
    values = torch.full((n, sizes.capacity), torch.inf, device=device)
    neighbours = torch.full((n, sizes.capacity), n, dtype=torch.int32, device=device)
    for rows in slices(n, tiles.tile_side):
        for columns in slices(n - rows.start, tiles.tile_side):
            first = rows.start, rows.start + columns.start
            dots = tiles.dots(rows, slice(first[1], rows.start + columns.stop))
            kernels.keep_near(dots, tiles.norms, limits, first, counts, values, neighbours)
    core = torch.empty(n, dtype=torch.float64, device=device)
    # Looking for the lists that fail is to wait for the device, so it is done once, at the end.
    complete = torch.empty(n, dtype=torch.bool, device=device)
    longest = min(sizes.capacity, int(counts.max()))
    for rows in slices(n, max(1, BLOCK // sizes.capacity)):
        near = values[rows, :longest]
        # A list of k + 1 entries includes the point itself.
        last = near.kthvalue(min(k + 1, longest), dim=1).values.double()
        slack = tiles.slack[rows]
        low, high = last - 2.0 * slack, last + 2.0 * slack
        complete[rows] = (counts[rows] > k) & (counts[rows] <= sizes.capacity) & (high <= limits[rows].double())
        # As in core_squares: below the band a value cannot be the k-th smallest nor above it.
        exact = torch.full_like(near, torch.inf, dtype=torch.float64).masked_fill_(near < low[:, None], -1.0)
        open_ = (near >= low[:, None]) & (near <= high[:, None]) & complete[rows][:, None]
        row, slot = open_.nonzero(as_tuple=True)
        points = neighbours[rows, :longest]
        exact[row, slot] = tiles.exact(rows.start + row, points[row, slot].long())
        core[rows] = exact.kthvalue(min(k + 1, longest), dim=1).values
        points.masked_fill_(exact > core[rows][:, None] * SAME, n)
    del values
    neighbours = neighbours[:, : max(longest, 1)]
    again = (~complete).nonzero()[:, 0]
    if len(again):
        core[again], inside = core_squares(tiles, k, again)
        if inside.shape[1] > neighbours.shape[1]:
            neighbours = torch.nn.functional.pad(neighbours, (0, inside.shape[1] - neighbours.shape[1]), value=n)
        neighbours[again] = torch.nn.functional.pad(inside, (0, neighbours.shape[1] - inside.shape[1]), value=n)
    return core, neighbours


def list_limits(tiles: Tiles, sizes: ListSizes) -> torch.Tensor:
    """Return a squared distance (n,) float32 for each point within which somewhat more than k points lie."""
    generator = torch.Generator().manual_seed(0)
    sample = torch.randperm(tiles.n, generator=generator)[: sizes.sample].to(tiles.x.device)
    limits = torch.empty(tiles.n, device=tiles.x.device)
    norms = tiles.norms[sample]
    for rows in slices(tiles.n, max(1, tiles.tile_side**2 // sizes.sample)):
        squares = tiles.dots(rows, sample).mul_(-2.0).add_(norms).add_(tiles.norms[rows][:, None]).clamp_min_(0.0)
        within = squares.kthvalue(sizes.rank, dim=1).values.double()
        # Room for the band around the k-th distance in which the exact distance decides.
        limits[rows] = (within + 4.0 * tiles.slack[rows]).float()
    return limits
