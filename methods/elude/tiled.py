"""The same spanning tree in bounded memory, on the CPU or a GPU, for points whose distance matrix does not fit.

One pass over strips of the matrix gives the core distances and keeps each point's neighbours; the first round of
Boruvka's algorithm then needs no distances at all. A few components remain, and one pass over the tiles between
different components finds the cheapest edge of each pair of them. If more components remain than their table has room
for, plain rounds of Boruvka's algorithm run first. Decisions that float32 leaves open are taken in float64, and equal
weights have the same order as in memory, so the tree is the same (docs/clustering.md).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import squareform

from methods.elude.core_distances import core_squares
from methods.elude.forest import Forest, SpanningTree, shared_cores
from methods.elude.kernels import SAME
from methods.elude.near_points import core_squares_of_triangle, list_sizes
from methods.elude.products import AUTO, precision_on
from methods.elude.spanning_tree import matrix_products, slices
from methods.elude.tiles import EXACT_BLOCK, BoundError, Tiles
from methods.elude.turns import turn_on
from methods.tracing import DEVICE, traced

# One in so many points may be an end of a cheapest edge by rough distances; if there are more, others are computed.
FEW_ROWS = 50


@traced("distances and spanning tree", DEVICE)
def tiled_spanning_tree(x: torch.Tensor, k: int, memory_bytes: int, products: str = AUTO) -> SpanningTree:
    """Return the minimum spanning tree of x (n, d) float32 on any device, under mutual reachability.

    k is the number of other points within a core distance, 1 <= k < n. The tree does not depend on products.

    Raises:
        BoundError: if products have the given reduced precision and errors on this device are larger than assumed. With
            "auto", the tree is then computed in float32.
    """
    precision = precision_on(x.device, products)
    if products == AUTO and precision != "float32":
        try:
            return _spanning_tree(x, k, memory_bytes, precision)
        except BoundError as error:
            warnings.warn(f"{error} Distances are computed in float32.", stacklevel=2)
            precision = "float32"
    return _spanning_tree(x, k, memory_bytes, precision)


def _spanning_tree(x: torch.Tensor, k: int, memory_bytes: int, products: str) -> SpanningTree:
    """Compute :func:`tiled_spanning_tree` in the precision "float32" or a reduced one."""
    with turn_on(x.device), matrix_products("ieee" if products == "float32" else "tf32"):
        forest, core, tied = joined_points(x, k, memory_bytes, products)
    return forest.tree(core, tied)


def joined_points(x: torch.Tensor, k: int, memory_bytes: int, products: str) -> tuple[Forest, np.ndarray, np.ndarray]:
    """Return the forest of one tree, squared core distances (n,) float64, and the tied edges, all on the host."""
    tiles = Tiles(x, memory_bytes, products)
    core, neighbours = core_distances(tiles, k, memory_bytes)
    target, host_core = first_edges(core, neighbours), core.cpu().numpy()
    tied = tied_edges(core, neighbours, torch.from_numpy(shared_cores(host_core)).to(x.device))
    del neighbours
    forest = Forest(tiles.n)
    forest.join_first(target.cpu().numpy(), host_core)
    while (count := forest.n_components) > 1:
        component = torch.from_numpy(forest.components()).to(x.device)
        edges = between_components if count <= tiles.table_width else out_of_components
        forest.join(*edges(tiles, core, component, count))
        if forest.n_components == count:
            raise BoundError(
                f"products = {products!r}: no edge joins the remaining {count} components, so a distance is wrong "
                "by more than its bound; use 'float32'."
            )
    return forest, host_core, tied.cpu().numpy()


@traced("core distances", DEVICE)
def core_distances(tiles: Tiles, k: int, memory_bytes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return squared core distances (n,) float64, and points within them (n, m) int32, padded with n."""
    sizes = list_sizes(tiles.n, k, memory_bytes)
    if tiles.kernels is None or sizes is None:
        return core_squares(tiles, k)
    return core_squares_of_triangle(tiles, k, sizes, tiles.kernels)


def first_edges(core: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
    """Return for each point the lowest other point no less dense within its core distance (n,) int64, or -1."""
    n = len(core)
    padded = torch.cat([core, core.new_full((1,), torch.inf)])
    target = torch.empty(n, dtype=torch.int64, device=core.device)
    # Stored neighbours take 4 bytes each, and about 30 while they are processed.
    step = max(1, EXACT_BLOCK // neighbours.shape[1])
    for rows in slices(n, step):
        near = neighbours[rows].long()
        points = torch.arange(rows.start, rows.stop, device=core.device)
        eligible = (padded[near] <= core[rows][:, None]) & (near != points[:, None])
        lowest = torch.where(eligible, near, n).amin(1)
        target[rows] = torch.where(lowest < n, lowest, -1)
    return target


def tied_edges(core: torch.Tensor, neighbours: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Return all edges (2, t) int64 from points (m,) to points no less dense and within their core distance."""
    padded = torch.cat([core, core.new_full((1,), torch.inf)])
    edges = [torch.empty(2, 0, dtype=torch.int64, device=core.device)]
    for part in torch.split(points, max(1, EXACT_BLOCK // neighbours.shape[1])):
        # The order of the neighbours is that of the edges, and it differs from run to run on a GPU.
        near = neighbours[part].long().sort(1).values
        row, slot = ((padded[near] <= core[part][:, None]) & (near != part[:, None])).nonzero(as_tuple=True)
        edges.append(torch.stack([part[row], near[row, slot]]))
    return torch.cat(edges, dim=1)


Edges = tuple[np.ndarray, np.ndarray, np.ndarray]


def candidates(
    tiles: Tiles,
    core: torch.Tensor,
    component: torch.Tensor,
    points: torch.Tensor,
    limit: Callable[[torch.Tensor], torch.Tensor],
) -> Edges:
    """Return every edge from the given points to other components that can weigh at most limit, with its exact weight.

    limit(component of some points (m,)) is the largest squared weight, (m, n) or (m, 1) float64. Returns low,
    high (e,) int64 and the squared weights (e,) float64, on the host.
    """
    ends: list[list[torch.Tensor]] = [[], [], []]
    # Float64 rows and masks here: a quarter of the rows of a float32 strip.
    for part in torch.split(points, max(1, tiles.strip_rows // 4)):
        squares = tiles.strip(part).double()
        slack = tiles.slack[part][:, None]
        base = torch.maximum(core[part][:, None], core[None])
        # If the core distances certainly exceed the distance, they are the weight, to the bit.
        settled = squares + slack <= base
        least = torch.where(settled, base, torch.maximum(base, squares - slack))
        wanted = (least <= limit(component[part])) & (component[part][:, None] != component[None])
        row, j = wanted.nonzero(as_tuple=True)
        i, weight = part[row], base[row, j]
        open_ = (~settled[row, j]).nonzero()[:, 0]
        exact = tiles.exact(i[open_], j[open_])
        weight[open_] = torch.where(exact > weight[open_] * SAME, exact, weight[open_])
        for out, values in zip(ends, (torch.minimum(i, j), torch.maximum(i, j), weight), strict=True):
            out.append(values)
    low, high, weights = (torch.cat(values).cpu().numpy() for values in ends)
    return low, high, weights


@traced("pairs of components", DEVICE)
def out_of_components(tiles: Tiles, core: torch.Tensor, component: torch.Tensor, count: int) -> Edges:
    """Run one round of Boruvka's algorithm: return the cheapest edge out of each of count components."""
    near, outside = core.float(), torch.empty_like(core)
    for rows in slices(tiles.n, tiles.strip_rows):
        weight = tiles.strip(rows).clamp_min_(near)
        weight.masked_fill_(component[rows][:, None] == component[None], torch.inf)
        outside[rows] = weight.amin(1).double()
    bound = torch.maximum(outside, core)
    # (1 + 1e-6) covers the rounding of core distances to float32.
    least = torch.full((count,), torch.inf, dtype=torch.float64, device=core.device)
    least.scatter_reduce_(0, component, (bound + tiles.slack) * (1.0 + 1e-6), "amin")
    hopeful = (bound * (1.0 - 1e-6) - tiles.slack <= least[component]).nonzero()[:, 0]
    low, high, square = candidates(tiles, core, component, hopeful, lambda components: least[components][:, None])
    host_component = component.cpu().numpy()
    owner = np.concatenate([host_component[low], host_component[high]])
    low, high, square = np.tile(low, 2), np.tile(high, 2), np.tile(square, 2)
    order = np.lexsort((high, low, square, owner))
    first = order[np.unique(owner[order], return_index=True)[1]]
    return low[first], high[first], square[first]


@traced("pairs of components", DEVICE)
def between_components(tiles: Tiles, core: torch.Tensor, component: torch.Tensor, count: int) -> Edges:
    """Return edges that contain the rest of the tree: every edge that can be the cheapest between two components."""
    hopeful, limit = hopeful_rows(tiles.rough(), core, component, count)
    if len(hopeful) > tiles.n // FEW_ROWS:
        # Where components lie close to each other, the rough distances rule out too little.
        hopeful, limit = hopeful_rows(tiles, core, component, count)
    return candidates(tiles, core, component, hopeful, lambda components: limit[components][:, component])


def hopeful_rows(
    tiles: Tiles, core: torch.Tensor, component: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return points (m,) that can be an end of a cheapest edge between components, and its largest weight (c, c)."""
    near, margin = point_to_component(tiles, core, component, count), 2.0 * float(tiles.slack.max())
    near = torch.maximum(near.double(), core[:, None])
    table = torch.full((count, count), torch.inf, dtype=torch.float64, device=core.device)
    table.scatter_reduce_(0, component[:, None].expand(-1, count), near, "amin")
    table = torch.minimum(table, table.T)
    # A pair that is certainly joined more cheaply by way of others is no edge of the tree.
    host = table.cpu().numpy()
    inside = torch.from_numpy(host * (1.0 - 1e-6) - margin <= detour(host)).to(core.device)
    limit = torch.where(inside, table * (1.0 + 1e-6) + margin, -torch.inf).fill_diagonal_(-torch.inf)
    return (near <= limit[component]).any(1).nonzero()[:, 0], limit


def point_to_component(tiles: Tiles, core: torch.Tensor, component: torch.Tensor, count: int) -> torch.Tensor:
    """Return for each point the least max(squared distance, core of the other end) to each smaller component.

    Components are taken by size, largest first, and every pair of them once, from the side of the larger. The usual
    case, one giant component and a few small ones, costs little. Returns (n, count) float32, infinite elsewhere.
    """
    sizes = torch.bincount(component, minlength=count)
    rank = torch.empty_like(sizes)
    rank[torch.argsort(sizes, descending=True, stable=True)] = torch.arange(count, device=core.device)
    ranks = rank[component]
    order = torch.argsort(ranks, stable=True)
    ranks = ranks[order]
    out = torch.full((tiles.n, count), torch.inf, dtype=torch.float32, device=core.device)
    near, names = core.float(), component.int()
    starts = torch.searchsorted(ranks, torch.arange(count, device=core.device)).tolist()
    # Read for all tiles at once: a number from the device waits for the tiles before.
    firsts = ranks[:: tiles.tile_side].tolist()
    for rows, first in zip(torch.split(order, tiles.tile_side), firsts, strict=True):
        begin = starts[first + 1] if first + 1 < count else tiles.n
        least = torch.full((len(rows), count), torch.inf, device=core.device)
        for columns in torch.split(order[begin:], tiles.tile_side):
            if tiles.kernels is not None:
                row_ends = tiles.norms[rows], names[rows]
                column_ends = tiles.norms[columns], near[columns], names[columns]
                tiles.kernels.least_by_component(tiles.dots(rows, columns), row_ends, column_ends, least)
            else:
                weight = tiles.strip(rows, columns).clamp_min_(near[columns])
                weight.masked_fill_(names[rows][:, None] == names[columns][None], torch.inf)
                least.scatter_reduce_(1, component[columns][None].expand(len(rows), -1), weight, "amin")
        out[rows] = least
    return out


def detour(table: np.ndarray) -> np.ndarray:
    """Return the heaviest edge (c, c) between two vertices in the minimum spanning tree of weights table (c, c).

    That edge is their cophenetic distance under single linkage.
    """
    return np.asarray(squareform(cophenet(linkage(squareform(table, checks=False), "single"))))
