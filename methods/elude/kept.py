"""Distances and hierarchy of a clustering, kept to cluster the same points again with another size.

The hierarchy of a set of points depends on ``min_samples`` and not on ``min_cluster_size``. If ``min_samples`` follows
``min_cluster_size``, the hierarchy changes, and only the distances stay the same.
"""

from __future__ import annotations

import threading

import numpy as np

#: Largest share of the free memory that is kept.
SHARE = 0.25


class Budget:
    """Bytes that may still be kept, by all lanes together."""

    def __init__(self, n_bytes: int) -> None:
        self._left = n_bytes
        self._lock = threading.Lock()

    def take(self, n_bytes: int) -> bool:
        """Take this many bytes; return False, and take none, if fewer are left."""
        with self._lock:
            if n_bytes > self._left:
                return False
            self._left -= n_bytes
            return True


class KeptClustering:
    """Distances or hierarchy of one set of points, as far as the budget allows; results are those without it.

    Args:
        budget: what may be kept.
        follows_size: ``min_samples`` changes with ``min_cluster_size``, so that distances are kept, and not the
            hierarchy.
    """

    def __init__(self, budget: Budget, *, follows_size: bool) -> None:
        self.follows_size = follows_size
        self._budget = budget
        self._distances: tuple[np.ndarray, np.ndarray] | None = None
        self._hierarchy: tuple[int, np.ndarray] | None = None

    def distances(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return squared distances (n, n) float32 and the bounds of their errors (n,); None if they are not kept."""
        return self._distances

    def keep_distances(self, squares: np.ndarray, slack: np.ndarray) -> None:
        """Keep a copy, since the matrix is overwritten by the next set of points."""
        if self.follows_size and self._distances is None and self._budget.take(squares.nbytes):
            self._distances = squares.copy(), slack

    def hierarchy(self, min_samples: int) -> np.ndarray | None:
        """Return the single linkage hierarchy (n - 1, 4) for this ``min_samples``; None if it is not kept."""
        if self._hierarchy is None or self._hierarchy[0] != min_samples:
            return None
        return self._hierarchy[1]

    def keep_hierarchy(self, min_samples: int, hierarchy: np.ndarray) -> None:
        if not self.follows_size and self._hierarchy is None and self._budget.take(hierarchy.nbytes):
            self._hierarchy = min_samples, hierarchy
