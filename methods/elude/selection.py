"""Flat clusters of a condensed tree: hdbscan's choice of clusters, and the labels and probabilities of all points.

hdbscan chooses among the clusters of the tree, of which there are few. It is therefore given a tree in which one point
stands for all points that leave a cluster. What concerns every point is computed here, without the lock of the Python
interpreter, so that other threads can use a GPU meanwhile. Results are those of hdbscan to the bit.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from methods.elude.hierarchy import CONDENSED, Selection
from methods.elude.kernels import Array
from methods.tracing import traced


@traced("tree of HDBSCAN, on the CPU")
def select(condensed: np.ndarray, n: int, method: str, epsilon: float) -> Selection:
    """Return the flat clusters of a condensed tree of n points; see :func:`methods.elude.hierarchy.condense`.

    Args:
        condensed: records with clusters numbered from n (the root).
        n: number of points.
        method: "leaf" or "eom".
        epsilon: clusters born below this distance are merged upwards; 0 merges none.
    """
    from hdbscan._hdbscan_tree import get_clusters

    parent, child = np.ascontiguousarray(condensed["parent"]), np.ascontiguousarray(condensed["child"])
    density, size = np.ascontiguousarray(condensed["lambda_val"]), np.ascontiguousarray(condensed["child_size"])
    count = int(parent.max()) - n + 1
    stability, deaths = sums_of_clusters(parent, child, density, size, n, count)
    # Cluster n + i becomes count + i, and point i stands for the points that leave it.
    births = condensed[child >= n]
    few = np.empty(len(births) + count, CONDENSED)
    few["parent"] = np.concatenate([births["parent"] - n, np.arange(count)]) + count
    few["child"] = np.concatenate([births["child"] - n + count, np.arange(count)])
    few["lambda_val"] = np.concatenate([births["lambda_val"], np.ones(count)])
    few["child_size"] = np.concatenate([births["child_size"], np.ones(count, np.intp)])
    named = {count + i: value for i, value in enumerate(stability.tolist())}
    label_of, _, _ = get_clusters(few, named, method, False, False, epsilon, n + 1)
    # Excess of mass gives a cluster the stability of those within it where theirs is larger.
    stability = np.array([named[count + i] for i in range(count)])
    # A cluster has a lower number than those within it.
    names, first = np.unique(label_of, return_index=True)
    chosen = first[names >= 0]
    labels, probabilities = label_points(parent, child, density, label_of, deaths[chosen], n)
    persistence = np.ones(len(chosen))
    highest = float(density.max())
    members = np.bincount(labels[labels >= 0], minlength=len(chosen))
    if highest != 0.0 and not np.isinf(highest):
        counted = members > 0
        persistence[counted] = stability[chosen][counted] / (members[counted] * highest)
    return Selection(labels, probabilities, persistence)


@njit(cache=True, nogil=True)
def sums_of_clusters(
    parent: Array, child: Array, density: Array, size: Array, n: int, count: int
) -> tuple[Array, Array]:
    """Return the stability of each cluster and the largest density at which something leaves it, (count,) each."""
    birth = np.zeros(count, np.float64)
    for record in range(len(parent)):
        if child[record] >= n:
            birth[child[record] - n] = density[record]
    birth[0] = 0.0
    stability, death = np.zeros(count, np.float64), np.zeros(count, np.float64)
    for record in range(len(parent)):
        cluster = parent[record] - n
        stability[cluster] += (density[record] - birth[cluster]) * size[record]
        death[cluster] = max(death[cluster], density[record])
    return stability, death


@njit(cache=True, nogil=True)
def label_points(
    parent: Array, child: Array, density: Array, label_of: Array, deaths: Array, n: int
) -> tuple[Array, Array]:
    """Return labels (n,) int64 and probabilities (n,), from the label of each cluster and the death of each label."""
    labels, probabilities = np.full(n, -1, np.int64), np.zeros(n, np.float64)
    for record in range(len(parent)):
        point = child[record]
        if point >= n:
            continue
        label = label_of[parent[record] - n]
        labels[point] = label
        if label < 0:
            continue
        death = deaths[label]
        if death == 0.0 or not np.isfinite(density[record]):
            probabilities[point] = 1.0
        else:
            probabilities[point] = min(density[record], death) / death
    return labels, probabilities
