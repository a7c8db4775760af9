"""Transfer of units: what the units of one fit do on a second image set.

Cells that share a fit and differ in their evaluation images are compared unit by unit: a unit that keeps its meaning is
alive on both sets, has a similar rank among the others by its MS score, and gets the same concept label. Beside these
are the probes that the cells were measured with (:mod:`results.comparison.transfer_probes`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from results.comparison.transfer_probes import ProbeTransfers, probe_transfers
from results.store import Store
from results.store.further_set import is_on_further_set
from results.store.labels import LEVEL, unit_labels

#: Bootstrap resamples, and fewest units of a rank correlation.
RESAMPLES, FEWEST_UNITS = 1000, 8


class Transfer(NamedTuple):
    """Units of one fit on two image sets."""

    label: str
    backbone: str
    site: str
    token_seed: int | None
    init_seed: int | None
    first: str
    """image set on which the method was fitted"""
    second: str
    first_cell: str
    second_cell: str
    n_units: int
    alive_first: int
    kept_alive: float
    """share of the units that are alive on the first set which are alive on the second; NaN without any"""
    ms_first: float
    """mean MS score over the units with a score on both sets"""
    ms_second: float
    rank_correlation: float
    """Spearman's correlation of the MS scores of these units; NaN for fewer than eight"""
    low: float
    """95 % interval: neurons redrawn, or units without neurons"""
    high: float
    n: int
    """units with a score on both sets"""
    scorer: str | None
    """scorer of labels that both cells have; None: no common labels"""
    same_label: float
    """share of the units with a label above the null on both sets that have the same one"""
    label_chance: float
    """the same if the labels of the second set were permuted among these units"""
    n_labelled: int
    fitted_on_first: bool
    """False if the fit has no cell on its own set: the set that was measured first takes its place"""
    probes: ProbeTransfers


def transfers(store: Store, *, seed: int = 0) -> list[Transfer]:
    """Return all pairs of image sets of each fit in a store: the set of the fit beside each other one.

    Of several cells on the set of the fit, and if there is none, the one that was computed first is taken.

    Args:
        store: the store.
        seed: random seed of the bootstrap.

    Raises:
        StoreError: if the store cannot be read.
    """
    cells = store.cells().sort_values(["started_at", "cell_id"], kind="stable")
    cells = cells[(cells["status"] == "finished") & cells["fit_id"].notna()]
    made = []
    for _, group in cells.groupby(["backbone", "site", "fit_id"], sort=False):
        by_set = group.groupby("evaluation_fingerprint", sort=False, dropna=False)
        sides = [_Side(cells.to_dict("records")) for _, cells in by_set]
        # False sorts before True, and sets of one kind keep their order.
        first, *others = sorted(sides, key=lambda side: side.is_further)
        made += [_transfer(store, first, other, seed) for other in others]
    return made


class _Side(NamedTuple):
    """Cells of one fit on one image set. They differ in their metrics."""

    cells: list[dict[str, Any]]

    @property
    def is_further(self) -> bool:
        return any(is_on_further_set(cell) for cell in self.cells)

    @property
    def ids(self) -> list[str]:
        return [str(cell["cell_id"]) for cell in self.cells]


def _transfer(store: Store, first_side: _Side, second_side: _Side, seed: int) -> Transfer:
    first, second = first_side.cells[0], second_side.cells[0]
    sides = [store.units(cell["cell_id"]).drop_duplicates("unit").set_index("unit") for cell in (first, second)]
    units = sides[0].index.intersection(sides[1].index)
    one, two = (side.loc[units] for side in sides)
    alive = [side["alive"].fillna(False).to_numpy(dtype=bool) for side in (one, two)]
    scores = [side["ms_score"].to_numpy(dtype=float, na_value=math.nan) for side in (one, two)]
    both = np.isfinite(scores[0]) & np.isfinite(scores[1]) & alive[0] & alive[1]
    parents = one["parent"].to_numpy(dtype=float, na_value=math.nan) if "parent" in one else np.full(len(one), math.nan)
    clusters = np.where(np.isfinite(parents), parents, np.asarray(units, dtype=float))[both]
    correlation = rank_correlation(scores[0][both], scores[1][both], clusters, seed)
    n_alive = int(alive[0].sum())
    means = [float(side[both].mean()) if both.any() else math.nan for side in scores]
    value, low, high = correlation
    scorer, same, chance, n_labelled = _labels(store, first["cell_id"], second["cell_id"])
    return Transfer(
        label=str(first["label"]),
        backbone=str(first["backbone"]),
        site=str(first["site"]),
        token_seed=_seed(first["token_seed"]),
        init_seed=_seed(first["init_seed"]),
        first=str(first["dataset"] or ""),
        second=str(second["dataset"] or ""),
        first_cell=str(first["cell_id"]),
        second_cell=str(second["cell_id"]),
        n_units=len(units),
        alive_first=n_alive,
        kept_alive=float((alive[0] & alive[1]).sum() / n_alive) if n_alive else math.nan,
        ms_first=means[0],
        ms_second=means[1],
        rank_correlation=value,
        low=low,
        high=high,
        n=int(both.sum()),
        scorer=scorer,
        same_label=same,
        label_chance=chance,
        n_labelled=n_labelled,
        fitted_on_first=not first_side.is_further,
        probes=probe_transfers(store, first_side.ids, second_side.ids),
    )


def _seed(value: Any) -> int | None:
    return None if pd.isna(value) else int(value)


def rank_correlation(x: np.ndarray, y: np.ndarray, clusters: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Return Spearman's correlation of x and y (n,) and its 95 % bootstrap interval, with clusters (n,) redrawn.

    All are NaN for fewer than eight values or if one side is constant, and the interval is NaN for one cluster. It
    resamples the ranks of all values.
    """
    from scipy.stats import rankdata

    if len(x) < FEWEST_UNITS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan, math.nan, math.nan
    a, b = (ranks - ranks.mean() for ranks in (rankdata(x), rankdata(y)))
    _, index = np.unique(clusters, return_inverse=True)
    moments = np.stack([np.bincount(index, each) for each in (np.ones_like(a), a, b, a * a, b * b, a * b)])
    generator = np.random.default_rng(seed)
    n_clusters = moments.shape[1]
    if n_clusters < 2:
        return float(_correlation(*moments.sum(1))), math.nan, math.nan
    draws = generator.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), RESAMPLES)
    drawn = _correlation(*(draws @ moments.T).T)
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(_correlation(*moments.sum(1))), float(low), float(high)


def _correlation(n: Any, a: Any, b: Any, aa: Any, bb: Any, ab: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return (ab - a * b / n) / np.sqrt((aa - a * a / n) * (bb - b * b / n))


def _labels(store: Store, first: str, second: str) -> tuple[str | None, float, float, int]:
    """Return the scorer that both cells have, the share of equal labels, its chance level, and the number of units."""
    sides = [unit_labels(store, cell, most=1) for cell in (first, second)]
    common = [name for name in dict.fromkeys(sides[0]["scorer"]) if name in set(sides[1]["scorer"])]
    if not common:
        return None, math.nan, math.nan, 0
    chosen = [_above_null(side[side["scorer"] == common[-1]]) for side in sides]
    units = chosen[0].index.intersection(chosen[1].index)
    one, two = chosen[0].loc[units], chosen[1].loc[units]
    if not len(units):
        return str(common[-1]), math.nan, math.nan, 0
    chance = (one.value_counts(normalize=True) * two.value_counts(normalize=True)).sum()
    return str(common[-1]), float((one == two).mean()), float(chance), len(units)


def _above_null(labels: pd.DataFrame) -> pd.Series:
    """Return the label of each unit whose best label is above its null."""
    p_values = labels["p_value"].to_numpy(dtype=float, na_value=math.nan)
    kept = labels[~(p_values > LEVEL)]
    return kept.drop_duplicates("unit").set_index("unit")["label"].astype(str)


def as_json(made: list[Transfer]) -> Iterator[dict[str, Any]]:
    """Yield one object per comparison, with an object of the probes in it. NaN becomes None."""
    for each in made:
        yield {**_plain(each._asdict()), "probes": _plain(each.probes._asdict())}


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in fields.items()}
