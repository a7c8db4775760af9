"""Flat clusters of a spanning tree, with hdbscan's own stability and selection functions, to match its results."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from methods.elude.forest import SpanningTree
from methods.elude.hierarchy import condense, linkage


class Selection(NamedTuple):
    """Flat clusters: labels (n,) int64 with -1 noise, probabilities (n,) float64, persistence (n_clusters,) float64."""

    labels: np.ndarray
    probabilities: np.ndarray
    persistence: np.ndarray


def select_clusters(
    tree: SpanningTree, min_cluster_size: int, selection: str, epsilon: float, *, portable_ties: bool = False
) -> Selection:
    """Return clusters of a spanning tree by hdbscan's condensing, `leaf` or `eom` selection, and numbering."""
    from hdbscan._hdbscan_tree import compute_stability, get_clusters

    condensed = condense(linkage(tree, portable_ties=portable_ties), min_cluster_size)
    stability = compute_stability(condensed)
    labels, probabilities, persistence = get_clusters(condensed, stability, selection, False, False, epsilon)
    return Selection(labels.astype(np.int64), probabilities, np.asarray(persistence, np.float64))


def renumber(chosen: Selection) -> Selection:
    """Return the same clusters numbered by size, largest first, then by smallest member."""
    count = len(chosen.persistence)
    members = np.bincount(chosen.labels[chosen.labels >= 0], minlength=count)
    first = np.array([np.argmax(chosen.labels == cluster) for cluster in range(count)], np.int64)
    order = np.lexsort((first, -members))
    rank = np.full(count + 1, -1)
    rank[order] = np.arange(count)
    return Selection(rank[chosen.labels], chosen.probabilities, chosen.persistence[order])
