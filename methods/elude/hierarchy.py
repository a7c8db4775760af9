"""Flat clusters from the single linkage hierarchy of a spanning tree, with equal weights in hdbscan's order.

Ties are common here: a point between two dense groups is joined to both at exactly its own core distance. The edge that
is merged first decides to which group the point, or a group just below the minimum size, belongs. hdbscan grows its
tree from point 0 by Prim's algorithm and sorts the edges with numpy's default sort. Traversing our tree in Prim's order
and sorting with the same call puts equal weights into the same order, so the labels equal the library's.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from numba import njit

from methods.elude.forest import SpanningTree, find
from methods.elude.kernels import Array
from methods.tracing import traced


class Selection(NamedTuple):
    """Flat clusters: labels (n,) integers with -1 noise, probabilities (n,), persistence (n_clusters,)."""

    labels: np.ndarray
    probabilities: np.ndarray
    persistence: np.ndarray


def renumber(chosen: Selection) -> Selection:
    """Return the same clusters numbered by size, largest first, then by smallest member; persistence as float64."""
    persistence = np.asarray(chosen.persistence, np.float64)
    count = len(persistence)
    members = np.bincount(chosen.labels[chosen.labels >= 0], minlength=count)
    first = np.array([np.argmax(chosen.labels == cluster) for cluster in range(count)], np.int64)
    order = np.lexsort((first, -members))
    rank = np.full(count + 1, -1)
    rank[order] = np.arange(count)
    return Selection(rank[chosen.labels], chosen.probabilities, persistence[order])


@traced("tree of HDBSCAN, on the CPU")
def linkage(tree: SpanningTree, *, portable_ties: bool = False) -> np.ndarray:
    """Return the single linkage hierarchy (n - 1, 4) float64 in SciPy's format: left, right, distance, size.

    With `portable_ties` equal weights keep Prim's order exactly. Otherwise their order is that of numpy's default sort,
    as in hdbscan; that sort is not stable, and its order depends on the vector instructions of the CPU.
    """
    ends = np.concatenate([tree.low, tree.tied[0]]), np.concatenate([tree.high, tree.tied[1]])
    low, high, weight = prim_order(len(tree.core), *ends, np.concatenate([tree.weight, tree.core[tree.tied[0]]]))
    order = np.argsort(weight, kind="stable" if portable_ties else None)
    return merge(low[order], high[order], weight[order])


@njit(cache=True, nogil=True)
def prim_order(n: int, low: Array, high: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Return the edges that Prim's algorithm takes from point 0 of a connected graph (low, high, weight, (m,) each).

    Returns the old end, the new end and the weight (n - 1,), in the order taken. Ties go to the lower new point.
    """
    edges = low.shape[0]
    start = np.zeros(n + 1, np.int64)
    for e in range(edges):
        start[low[e] + 1] += 1
        start[high[e] + 1] += 1
    start = np.cumsum(start)
    fill = start[:-1].copy()
    incident = np.empty(2 * edges, np.int64)
    for e in range(edges):
        for end in (low[e], high[e]):
            incident[fill[end]] = e
            fill[end] += 1

    source, target, taken = np.empty(n - 1, np.int64), np.empty(n - 1, np.int64), np.empty(n - 1, np.float64)
    reached = np.zeros(n, np.bool_)
    visited = np.empty(n, np.int64)
    # Weight, new point, and the visit time of its old end: the earliest one keeps the edge, as in hdbscan.
    heap = [(0.0, np.int64(0), np.int64(-1))]
    count = 0
    while len(heap) > 0:
        w, point, since = heappop(heap)
        if reached[point]:
            continue
        reached[point] = True
        visited[count] = point
        if since >= 0:
            source[count - 1], target[count - 1], taken[count - 1] = visited[since], point, w
        for slot in range(start[point], start[point + 1]):
            e = incident[slot]
            other = low[e] + high[e] - point
            if not reached[other]:
                heappush(heap, (weight[e], other, np.int64(count)))
        count += 1
    return source, target, taken


@njit(cache=True, nogil=True)
def merge(low: Array, high: Array, weight: Array) -> Array:
    """Return the single linkage of edges in this order; row e joins two clusters: a point, or n + an earlier row."""
    n = low.shape[0] + 1
    parent, name, size = np.arange(n), np.arange(n), np.ones(n, np.int64)
    out = np.empty((n - 1, 4), np.float64)
    for e in range(n - 1):
        a, b = find(parent, low[e]), find(parent, high[e])
        out[e, 0], out[e, 1], out[e, 2], out[e, 3] = name[a], name[b], weight[e], size[a] + size[b]
        parent[max(a, b)] = min(a, b)
        name[min(a, b)] = n + e
        size[min(a, b)] += size[max(a, b)]
    return out


CONDENSED = np.dtype([("parent", np.intp), ("child", np.intp), ("lambda_val", np.float64), ("child_size", np.intp)])


@traced("tree of HDBSCAN, on the CPU")
def condense(hierarchy: np.ndarray, min_cluster_size: int) -> np.ndarray:
    """Return the condensed tree of a single linkage hierarchy (n - 1, 4): the density at which points leave clusters.

    From the root down, a merge whose two sides both have min_cluster_size points starts two clusters; one with a
    smaller side removes that side's points at density 1 / distance and continues as the same cluster. Records (parent,
    child, lambda_val, child_size), points below n, clusters from n on, in the order that hdbscan's selection sums them.
    """
    parent, child, density, size = shed(hierarchy, min_cluster_size)
    out = np.empty(len(parent), CONDENSED)
    out["parent"], out["child"], out["lambda_val"], out["child_size"] = parent, child, density, size
    return out


@njit(cache=True, nogil=True)
def shed(hierarchy: Array, min_cluster_size: int) -> tuple[Array, Array, Array, Array]:
    """Return the columns parent, child, lambda and size of the condensed tree, in time linear in n.

    Every record belongs to one side of one merge: there a cluster starts, or all points below leave it. One pass from
    the root, level by level, gives each node its cluster and the side at which it left, and counts the records of each
    side. A second pass writes the records.
    """
    n = hierarchy.shape[0] + 1
    nodes = 2 * n - 1
    level_order = np.empty(nodes, np.int64)
    cluster = np.empty(nodes, np.int64)
    # Side 2i is the left one of the i-th merge from the root, 2i + 1 its right one.
    shed_by = np.full(nodes, -1, np.int64)
    born_at, born_of, born_size = np.empty(nodes, np.int64), np.empty(nodes, np.int64), np.empty(nodes, np.int64)
    first = np.zeros(2 * n, np.int64)
    density = np.empty(n - 1, np.float64)
    level_order[0], cluster[nodes - 1] = nodes - 1, n
    listed, merges, born = 1, 0, 0
    for at in range(nodes):
        node = level_order[at]
        if node < n:
            first[shed_by[node] + 1] += 1
            continue
        row = hierarchy[node - n]
        ends = (np.int64(row[0]), np.int64(row[1]))
        sizes = (
            np.int64(hierarchy[ends[0] - n, 3]) if ends[0] >= n else np.int64(1),
            np.int64(hierarchy[ends[1] - n, 3]) if ends[1] >= n else np.int64(1),
        )
        divides = min(sizes[0], sizes[1]) >= min_cluster_size
        density[merges] = 1.0 / row[2] if row[2] > 0.0 else np.inf
        for side in range(2):
            end = ends[side]
            level_order[listed] = end
            listed += 1
            cluster[end], shed_by[end] = cluster[node], shed_by[node]
            if shed_by[node] >= 0:
                continue
            if divides:
                born_at[born], born_of[born], born_size[born] = 2 * merges + side, cluster[node], sizes[side]
                first[2 * merges + side + 1] += 1
                born += 1
                cluster[end] = n + born
            elif sizes[side] < min_cluster_size:
                shed_by[end] = 2 * merges + side
        merges += 1
    position = np.cumsum(first)

    count = n + born
    parent, child, size = np.empty(count, np.int64), np.empty(count, np.int64), np.ones(count, np.int64)
    level = np.empty(count, np.float64)
    for birth in range(born):
        slot = position[born_at[birth]]
        parent[slot], child[slot], size[slot] = born_of[birth], n + 1 + birth, born_size[birth]
        level[slot] = density[born_at[birth] // 2]
    for at in range(nodes):
        node = level_order[at]
        if node < n:
            slot = position[shed_by[node]]
            position[shed_by[node]] += 1
            parent[slot], child[slot], level[slot] = cluster[node], node, density[shed_by[node] // 2]
    return parent, child, level, size
