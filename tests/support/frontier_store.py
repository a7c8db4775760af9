"""Settings of methods in a store, and the curves of its one board."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from results import CellRecord, ScoreRecord
from results.comparison.frontier import BoardFrontier, Curve, frontiers
from results.store import Store


def setting(
    store: Store,
    method: str,
    k: float,
    r2: Sequence[float],
    *,
    l0: float | None = None,
    error: float | None = None,
    groups: Sequence[float] | None = None,
    seeds: Sequence[int] = (1, 2, 3),
    **changes: Any,
) -> None:
    """Record one setting of a method: one cell for each value of R2.

    Args:
        groups: R2 of each group of images minus the mean.
    """
    for seed, value in zip(seeds, r2, strict=False):
        fields = {"label": method, "config": {"k": k}, "claims": {"family": "sae"}, **changes}
        cell = CellRecord(
            cell_id=f"{method}-{k}-{seed}",
            status="finished",
            backbone="vit",
            site="fc",
            dataset="photos",
            method=method,
            token_seed=seed,
            init_seed=0,
            **fields,
        )
        without = [value - group / (len(groups) - 1) for group in groups] if groups else None
        details = {"without_group": without} if groups else None
        scores = [
            ScoreRecord(metric="r2", value=value, unit="fraction", uncertainty=error, details=details),
            ScoreRecord(metric="l0", value=k if l0 is None else l0, unit="units", direction="none"),
            ScoreRecord(metric="kl", value=0.1, unit="nat", direction="lower"),
        ]
        store.record(cell, scores)


def one(store: Store, **options: Any) -> BoardFrontier:
    (frontier,) = frontiers(store, **options)
    return frontier


def curves(frontier: BoardFrontier) -> dict[str, Curve]:
    return {curve.title: curve for curve in frontier.curves}
