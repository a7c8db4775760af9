"""Permutation test of a rank correlation over methods that were measured on several layers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.stats import rankdata

#: Number of random permutations. The smallest p-value, 1 / (PERMUTATIONS + 1), leaves room for a correction by 1000.
PERMUTATIONS = 40_000

#: Minimum number of methods. Four have 24 orders, so a p-value of at least .08.
FEWEST = 4


def permutation_p(layers: Sequence[pd.DataFrame], *, seed: int) -> float | None:
    """Return the two-sided p-value of Spearman's correlation between two scores, averaged over layers.

    If the first score says nothing about the second, the methods can exchange their second scores. A method does so at
    all layers at once, because its values on several layers are not independent.

    Args:
        layers: one table per layer, with the method as index and the two scores as columns. Methods that are not on
            every layer are left out, and so are layers on which a score is constant.
        seed: random seed of the permutations.

    Returns:
        ``(1 + #{|T'| >= |T|}) / (1 + PERMUTATIONS)``, or None with fewer than :data:`FEWEST` methods or no layer.
    """
    used = [layer for layer in layers if len(layer) and bool((layer.nunique() > 1).all())]
    if not used:
        return None
    methods = sorted(set.intersection(*(set(layer.index) for layer in used)))
    if len(methods) < FEWEST:
        return None
    products = [_products(layer.loc[methods].to_numpy(dtype=np.float64)) for layer in used]
    defined = [product for product in products if product is not None]
    if not defined:
        return None
    together = np.mean(defined, axis=0)
    permuted = _permutations(len(methods), seed)
    statistics = together[permuted, np.arange(len(methods))].sum(1)
    extreme = int((np.abs(statistics) >= abs(np.trace(together)) - 1e-9).sum())
    return (1 + extreme) / (1 + len(permuted))


def _products(pair: np.ndarray) -> np.ndarray | None:
    """Return (m, m) products whose trace is the Spearman correlation of the columns of (m, 2); None if one is constant.

    Permuting the first column permutes the rows.
    """
    ranks = rankdata(pair, axis=0) - (len(pair) + 1) / 2
    lengths = np.sqrt((ranks**2).sum(0))
    if not lengths.all():
        return None
    product: np.ndarray = np.outer(ranks[:, 0] / lengths[0], ranks[:, 1] / lengths[1])
    return product


@lru_cache(maxsize=8)
def _permutations(n: int, seed: int) -> np.ndarray:
    """Return (PERMUTATIONS, n) random permutations."""
    drawn = np.random.default_rng([seed, 3, n]).random((PERMUTATIONS, n))
    return drawn.argsort(axis=1)
