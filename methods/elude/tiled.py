"""The same spanning tree in bounded memory, on the CPU or a GPU, for points whose distance matrix does not fit.

One pass over strips of the matrix gives the core distances and keeps each point's neighbours; the first round of
Boruvka's algorithm then needs no distances at all. A few components remain, and one pass over the tiles between
different components finds the cheapest edge of each pair of them. If more components remain than their table has room
for, plain rounds of Boruvka's algorithm run first. Decisions that float32 leaves open are taken in float64, and equal
weights have the same order as in memory, so the tree is the same (docs/clustering.md).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import squareform

from methods.elude.forest import Forest, SpanningTree, shared_cores
from methods.elude.kernels import SAME, smallest_entries
from methods.elude.products import SplitRows
from methods.elude.spanning_tree import RowThreads, centred, matrix_products, rounding_slack, slices
from methods.errors import ArgumentError
from methods.tracing import DEVICE, traced

# Neighbours kept beyond min_samples + 1: room for those that float32 cannot distinguish from the last one.
SPARE = 16
# Entries of one float64 block of coordinate differences, or of neighbours processed together.
EXACT_BLOCK = 1 << 22
# Rows whose distances to each other are compared with their bound, if products have a reduced precision.
SAMPLED_ROWS = 64


class Tiles:
    """Blocks (within `slack`) and exact single entries of the squared distance matrix of x (n, d) float32.

    memory_bytes bounds the blocks alive at one time, not x nor the neighbours that are kept (n times min_samples + 17
    int32). products is "float32", or the precision in which blocks are computed (`products.PRECISIONS`): it changes
    `slack`, and nothing that is decided.
    """

    def __init__(self, x: torch.Tensor, memory_bytes: int, products: str = "float32"):
        self.x = x
        self.n, self.d = x.shape
        moved = centred(x)
        norms = torch.cat([torch.linalg.vecdot(part, part, dim=1).double() for part in torch.split(moved, 65536)])
        self.norms = norms.float()
        self.slack = rounding_slack(norms, self.d)
        self.vectors: torch.Tensor | SplitRows = moved
        if products != "float32":
            self.vectors = SplitRows(moved, products)
            self.slack += self.vectors.slack
        self.n_exact = 0
        """number of distances that were computed in float64"""
        self.plan(memory_bytes)
        if products != "float32":
            require_bound(self, products)

    def plan(self, memory_bytes: int) -> None:
        """Set the sizes of the blocks from memory_bytes; results do not depend on it."""
        # A strip of all columns, a square tile and the table of points and components each need at most three more
        # arrays of their size; half is reserved for the matrix product and the allocator.
        self.strip_rows = max(1, memory_bytes // (32 * self.n))
        self.tile_side = max(1, min(8192, int((memory_bytes / 32) ** 0.5)))
        self.table_width = max(2, memory_bytes // (32 * self.n))

    def strip(self, rows: torch.Tensor | slice, columns: torch.Tensor | slice = slice(None)) -> torch.Tensor:
        """Return squared distances (rows, columns) float32, at least 0."""
        start = self.norms[columns][None]
        if isinstance(self.vectors, SplitRows):
            out = self.vectors.subtract_twice(start, rows, columns)
        else:
            out = torch.addmm(start, self.vectors[rows], self.vectors[columns].T, alpha=-2.0)
        return out.add_(self.norms[rows][:, None]).clamp_min_(0.0)

    def exact(self, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        """Return squared distances (m,) float64 of the pairs i, j (m,), from float64 differences.

        The bits of a distance do not depend on the other pairs of the call.
        """
        self.n_exact += len(i)
        step = max(1, EXACT_BLOCK // self.d)
        out = torch.empty(len(i), dtype=torch.float64, device=self.x.device)
        for part in slices(len(i), step):
            count = part.stop - part.start
            # A GPU chooses the order of a sum by the shape of the whole block.
            spare = 0 if self.x.device.type == "cpu" else step - count
            ends = [torch.nn.functional.pad(end[part], (0, spare)) for end in (i, j)]
            out[part] = (self.x[ends[0]].double() - self.x[ends[1]].double()).square_().sum(1)[:count]
        return out


def largest_error(tiles: Tiles, count: int) -> float:
    """Return the largest error of the distances among count rows, spread over all, as a fraction of its bound."""
    rows = torch.arange(0, tiles.n, max(1, tiles.n // count), device=tiles.x.device)[:count]
    i, j = rows.repeat_interleave(len(rows)), rows.repeat(len(rows))
    computed = tiles.n_exact
    error = (tiles.strip(rows, rows).flatten().double() - tiles.exact(i, j)).abs()
    tiles.n_exact = computed
    # Rows of zeros have neither an error nor a bound.
    return float((error / tiles.slack[i].clamp_min(torch.finfo(torch.float64).tiny)).max())


def require_bound(tiles: Tiles, products: str) -> None:
    """Check the bound on a sample of distances: it assumes how the sums of this device round.

    Raises:
        ArgumentError: if one of them is wrong by more than the bound.
    """
    error = largest_error(tiles, SAMPLED_ROWS)
    if not error <= 1.0:
        raise ArgumentError(
            f"products = {products!r}: a distance is wrong by {error:.3g} times the bound, so this device does not sum "
            "as the bound assumes and the clusters could be wrong; use 'float32'."
        )


@traced("distances and spanning tree", DEVICE)
def tiled_spanning_tree(x: torch.Tensor, k: int, memory_bytes: int, products: str = "float32") -> SpanningTree:
    """Return the minimum spanning tree of x (n, d) float32 on any device, under mutual reachability.

    k is the number of other points within a core distance, 1 <= k < n. The tree does not depend on products.
    """
    with matrix_products("ieee" if products == "float32" else "tf32"):
        tiles = Tiles(x, memory_bytes, products)
        core, neighbours = core_squares(tiles, k)
        target, host_core = first_edges(core, neighbours), core.cpu().numpy()
        tied = tied_edges(core, neighbours, torch.from_numpy(shared_cores(host_core)).to(x.device))
        del neighbours
        forest = Forest(tiles.n)
        forest.join_first(target.cpu().numpy(), host_core)
        while forest.n_components > 1:
            component = torch.from_numpy(forest.components()).to(x.device)
            if forest.n_components <= tiles.table_width:
                forest.join(*between_components(tiles, core, component, forest.n_components))
            else:
                forest.join(*out_of_components(tiles, core, component, forest.n_components))
        return forest.tree(host_core, tied.cpu().numpy())


def core_squares(tiles: Tiles, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return squared core distances (n,) float64, and points within them (n, min(n, k + 17)) int32, padded with n."""
    n, device = tiles.n, tiles.x.device
    width = min(n, k + 1 + SPARE)
    selected = width
    core = torch.empty(n, dtype=torch.float64, device=device)
    neighbours = torch.empty(n, width, dtype=torch.int32, device=device)
    for rows in slices(n, tiles.strip_rows):
        squares = tiles.strip(rows)
        points = torch.arange(rows.start, rows.stop, device=device)
        squares[points - rows.start, points] = 0.0
        slack = tiles.slack[rows]
        while True:
            values, columns = smallest(squares, selected)
            near = values[:, k].double()
            low, high = near - 2.0 * slack, near + 2.0 * slack
            # The band may extend beyond the selected entries.
            cut = values[:, -1] <= high if selected < n else torch.zeros_like(near, dtype=torch.bool)
            if selected >= min(n, 2 * width) or int(cut.sum()) <= len(near) // 16:
                break
            selected = min(n, 2 * width, 2 * selected - (k + 1))
        # Below the band a value cannot be the k-th smallest nor above it; in it the exact distance decides.
        exact = torch.full_like(values, torch.inf, dtype=torch.float64).masked_fill_(values < low[:, None], -1.0)
        row, slot = ((values >= low[:, None]) & (values <= high[:, None])).nonzero(as_tuple=True)
        exact[row, slot] = tiles.exact(points[row], columns[row, slot])
        part = exact.kthvalue(k + 1, dim=1).values
        inside = lowest(torch.where(exact <= part[:, None] * SAME, columns, n), width)
        for r in cut.nonzero()[:, 0].tolist():
            band = float(low[r]), float(high[r])
            part[r], inside[r] = whole_row(tiles, squares[r], rows.start + r, band, k, width)
        core[rows] = part
        neighbours[rows] = inside.int()
    return core, neighbours


def smallest(squares: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the width smallest entries, ascending, of each row of squares (b, n), and int64 columns: (b, width)."""
    if squares.device.type != "cpu":
        return squares.topk(width, dim=1, largest=False, sorted=True)
    values = torch.empty(len(squares), width)
    columns = torch.empty(len(squares), width, dtype=torch.int64)
    arrays = squares.numpy(), values.numpy(), columns.numpy()
    with RowThreads(*squares.shape) as rows:
        rows(lambda start, stop: smallest_entries(arrays[0], width, start, stop, arrays[1], arrays[2]))
    return values, columns


def lowest(columns: torch.Tensor, width: int) -> torch.Tensor:
    """Return the width lowest entries of each row of columns (b, m) int64: which of more points are kept is free."""
    return columns if columns.shape[1] <= width else columns.sort(dim=1).values[:, :width]


def whole_row(
    tiles: Tiles, squares: torch.Tensor, point: int, band: tuple[float, float], k: int, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute `core_squares` for one point, without a limit on the number of points in the band.

    Of more than `width` points within the core distance, those of lowest index are kept: leaving some out may cost a
    round but does not change the tree.
    """
    low, high = band
    columns = ((squares >= low) & (squares <= high)).nonzero()[:, 0]
    exact = tiles.exact(torch.full_like(columns, point), columns)
    below = squares < low
    core = exact.kthvalue(k + 1 - int(below.sum())).values
    below[columns[exact <= core * SAME]] = True
    inside = below.nonzero()[:width, 0]
    padded = torch.full((width,), tiles.n, dtype=inside.dtype, device=inside.device)
    padded[: len(inside)] = inside
    return core, padded


def first_edges(core: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
    """Return for each point the lowest other point no less dense within its core distance (n,) int64, or -1."""
    n = len(core)
    padded = torch.cat([core, core.new_tensor([torch.inf])])
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
    padded = torch.cat([core, core.new_tensor([torch.inf])])
    edges = [torch.empty(2, 0, dtype=torch.int64, device=core.device)]
    for part in torch.split(points, max(1, EXACT_BLOCK // neighbours.shape[1])):
        near = neighbours[part].long()
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


def between_components(tiles: Tiles, core: torch.Tensor, component: torch.Tensor, count: int) -> Edges:
    """Return edges that contain the rest of the tree: every edge that can be the cheapest between two components."""
    near, slack = point_to_component(tiles, core, component, count), float(tiles.slack.max())
    near = torch.maximum(near.double(), core[:, None])
    table = torch.full((count, count), torch.inf, dtype=torch.float64, device=core.device)
    table.scatter_reduce_(0, component[:, None].expand(-1, count), near, "amin")
    table = torch.minimum(table, table.T)
    margin = 2.0 * slack
    # A pair that is certainly joined more cheaply by way of others is no edge of the tree.
    host = table.cpu().numpy()
    inside = torch.from_numpy(host * (1.0 - 1e-6) - margin <= detour(host)).to(core.device)
    limit = torch.where(inside, table * (1.0 + 1e-6) + margin, -torch.inf).fill_diagonal_(-torch.inf)
    hopeful = (near <= limit[component]).any(1).nonzero()[:, 0]
    return candidates(tiles, core, component, hopeful, lambda components: limit[components][:, component])


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
    near = core.float()
    starts = torch.searchsorted(ranks, torch.arange(count, device=core.device)).tolist()
    for rows in torch.split(order, tiles.tile_side):
        first = int(rank[component[rows[0]]])
        begin = starts[first + 1] if first + 1 < count else tiles.n
        for columns in torch.split(order[begin:], tiles.tile_side):
            weight = tiles.strip(rows, columns).clamp_min_(near[columns])
            row_component, column_component = component[rows], component[columns]
            weight.masked_fill_(row_component[:, None] == column_component[None], torch.inf)
            names, local = torch.unique(column_component, return_inverse=True)
            least = torch.full((len(rows), len(names)), torch.inf, device=core.device)
            least.scatter_reduce_(1, local[None].expand(len(rows), -1), weight, "amin")
            out[rows[:, None], names[None]] = torch.minimum(out[rows[:, None], names[None]], least)
    return out


def detour(table: np.ndarray) -> np.ndarray:
    """Return the heaviest edge (c, c) between two vertices in the minimum spanning tree of weights table (c, c).

    That edge is their cophenetic distance under single linkage.
    """
    return np.asarray(squareform(cophenet(linkage(squareform(table, checks=False), "single"))))
