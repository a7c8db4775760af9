"""Disjoint sets of points and the edges that join them: the state of Boruvka's algorithm."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from methods.elude.kernels import Array
from methods.tracing import traced


class SpanningTree(NamedTuple):
    """The n - 1 edges of a tree on n points, in ascending order of (weight, low, high).

    low, high   (n - 1,) int64 with low < high
    weight      (n - 1,) float64, mutual-reachability distance (not squared)
    core        (n,) float64 core distances
    tied        (2, t) int64: more edges, each as heavy as the core distance of its first end. They join points that
                have bit-identical core distances (each the other's k-th neighbour) to all points within it; any of them
                could be in the tree, and the choice would decide the order of merges
    """

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray
    core: np.ndarray
    tied: np.ndarray


def shared_cores(core: np.ndarray) -> np.ndarray:
    """Return the points (m,) int64 whose nonzero squared core distance (n,) is shared with another point."""
    order = np.argsort(core)
    shared = order[in_runs(core[order])]
    return np.sort(shared[core[shared] > 0])


def edge_order(low: np.ndarray, high: np.ndarray, square: np.ndarray) -> np.ndarray:
    """Return the order (m,) of edges by (square, low, high); edges that are equal in all three keep theirs.

    Few edges are equally heavy, so that only these are compared by their ends: three times faster than numpy's lexsort.
    """
    order = np.argsort(square)
    places = np.flatnonzero(in_runs(square[order]))
    # numpy's default sort leaves equal edges in any order.
    edges = np.sort(order[places])
    order[places] = edges[np.lexsort((high[edges], low[edges], square[edges]))]
    return order


def in_runs(values: np.ndarray) -> np.ndarray:
    """Return the mask (n,) bool of the entries of sorted values (n,) that occur more than once."""
    equal = values[1:] == values[:-1]
    before, after = np.zeros(len(values), np.bool_), np.zeros(len(values), np.bool_)
    before[1:], after[:-1] = equal, equal
    return before | after


class Forest:
    """Forest of n points, initially all separate. `square` holds squared weights, as until the finished tree."""

    def __init__(self, n: int):
        self.parent = np.arange(n)
        self.low, self.high = np.empty(n - 1, np.int64), np.empty(n - 1, np.int64)
        self.square = np.empty(n - 1, np.float64)
        self.count = 0

    @property
    def n_components(self) -> int:
        return len(self.parent) - self.count

    @traced("edges of the tree, on the CPU")
    def join(self, low: np.ndarray, high: np.ndarray, square: np.ndarray) -> None:
        """Add edges (m,) in the order (square, low, high), leaving out those that would close a cycle."""
        order = edge_order(low, high, square)
        self.count = join_sets(
            self.parent, low[order], high[order], square[order], self.low, self.high, self.square, self.count
        )

    def join_first(self, target: np.ndarray, core: np.ndarray) -> None:
        """Run Boruvka's first round: join point i to target[i] at its own squared core distance; -1 means none."""
        source = np.flatnonzero(target >= 0)
        other = target[source]
        self.join(np.minimum(source, other), np.maximum(source, other), core[source])

    @traced("edges of the tree, on the CPU")
    def components(self) -> np.ndarray:
        """Return the component (n,) int64 of each point, numbered from 0 by lowest member."""
        return number_sets(self.parent)

    @traced("edges of the tree, on the CPU")
    def tree(self, core: np.ndarray, tied: np.ndarray) -> SpanningTree:
        """Return the finished tree; core (n,) float64 are the squared core distances."""
        order = edge_order(self.low, self.high, self.square)
        return SpanningTree(self.low[order], self.high[order], np.sqrt(self.square[order]), np.sqrt(core), tied)


@njit(cache=True, nogil=True)
def find(parent: Array, i: int) -> int:
    """Return the root of i, halving the path to it on the way."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True, nogil=True)
def join_sets(
    parent: Array,
    low: Array,
    high: Array,
    square: Array,
    tree_low: Array,
    tree_high: Array,
    tree_square: Array,
    count: int,
) -> int:
    """Append the edges that join two sets to the tree's edges, of which there are count; return the new count.

    The lower root stays the root, so a set is always identified by its lowest member.
    """
    for e in range(low.shape[0]):
        a, b = find(parent, low[e]), find(parent, high[e])
        if a != b:
            parent[max(a, b)] = min(a, b)
            tree_low[count], tree_high[count], tree_square[count] = low[e], high[e], square[e]
            count += 1
    return count


@njit(cache=True, nogil=True)
def number_sets(parent: Array) -> Array:
    """Return the sets numbered from 0 by lowest member, (n,) int64."""
    number = np.empty(parent.shape[0], np.int64)
    count = 0
    for i in range(parent.shape[0]):
        root = find(parent, i)
        if root == i:
            number[i] = count
            count += 1
        else:
            number[i] = number[root]
    return number
