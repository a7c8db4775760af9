"""``select = true`` in a suite: the family's grid is run first, and what eq. 9 picks of it takes the method's place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from harness.suites import MethodEntry, Suite, Target, parse_suite
from harness.suites.grids import GRIDS, grid
from methods import METHODS
from methods.base import make_config
from results import Store, open_store
from results.boards.seeds import SUFFIX


class Selected(NamedTuple):
    """A suite with every selection made."""

    suite: Suite | None
    """None where nothing is left to run"""
    notes: list[str]
    """what was chosen, and methods that were left out because nothing of their grid had finished"""


def selects(suite: Suite) -> bool:
    """Whether a suite without parts leaves a configuration to a sweep."""
    return any(entry.select for target in suite.targets for entry in suite.methods_of(target))


def sweeps_before(suite: Suite) -> list[Suite | None]:
    """For each target the suite of the grids that must be run before it; None where nothing is selected there.

    One training seed, the first token seed, R2 and L0. A target has a sweep of its own, because its cells are known by
    nothing else: two checkpoints of one architecture have the same names of backbone and site.
    """
    return [_sweep_of(suite, target) for target in suite.targets]


def _sweep_of(suite: Suite, target: Target) -> Suite | None:
    values = suite.model_dump()
    methods = [
        {"name": entry.name, "config": {**entry.config, **point}}
        for entry in suite.methods_of(target)
        if entry.select
        for point in grid(entry.name, suite.sweep.grid)
    ]
    if not methods:
        return None
    described = {**target.model_dump(), "methods": methods, "token_seeds": suite.token_seeds_of(target)[:1]}
    return parse_suite(only_swept(suite, {**values, "targets": [described]}), source=f"sweep of {suite.name}")


def with_selected(suite: Suite, store_path: str | Path, cell_ids: Sequence[Sequence[str]]) -> Selected:
    """The suite with the configurations chosen among the sweeps' cells of a store.

    The choice is made within a family and target, as in the paper; ties go to the earlier configuration.

    Args:
        cell_ids: for each target the cells of its sweep, as :func:`sweeps_before` gives the sweeps.
    """
    targets: list[Target] = []
    notes: list[str] = []
    for target, own_ids in zip(suite.targets, cell_ids, strict=True):
        rows = measured(store_path, own_ids)
        # Cells that are looked up by name may be of several networks: each has its choice.
        networks = [own for _, own in rows.groupby("evaluation_fingerprint", sort=False)]
        place = f"{target.backbone} at {target.site}" if target.site else target.backbone
        entries = []
        for entry in suite.methods_of(target):
            if not entry.select:
                entries.append(entry)
                continue
            found = [point for own in networks if (point := _choose(entry, suite, own)) is not None]
            points = [point for number, point in enumerate(found) if point not in found[:number]]
            label = entry.label or METHODS.get(entry.name).spec.title
            if not points:
                notes.append(f"{label} on {place} is left out: no configuration of its sweep has finished.")
            for point in points:
                shown = ", ".join(f"{key} {value:g}" for key, value in point.items())
                notes.append(f"{label} on {place}: the sweep chose {shown}.")
                entries.append(entry.model_copy(update={"config": {**entry.config, **point}, "select": False}))
        if entries:
            targets.append(target.model_copy(update={"methods": tuple(entries), "settings": {}}))
    if not targets:
        return Selected(None, notes)
    return Selected(suite.model_copy(update={"targets": tuple(targets), "methods": ()}), notes)


def _choose(entry: MethodEntry, suite: Suite, rows: pd.DataFrame) -> Mapping[str, Any] | None:
    method = METHODS.get(entry.name)
    points = grid(entry.name, suite.sweep.grid)
    wanted = [make_config(method, {**entry.config, **point}).model_dump(mode="json") for point in points]
    rows = rows[rows["method"] == entry.name]
    found = [
        (point, own.iloc[0])
        for point, config in zip(points, wanted, strict=True)
        if len(own := rows[[stored == config for stored in rows["config"]]])
    ]
    candidates = candidates_of(
        entry.name,
        [{key: point[key] for key in GRIDS[entry.name]} for point, _ in found],
        [float(row["r2"]) for _, row in found],
        [float(row["l0"]) for _, row in found],
        target_l0=suite.sweep.target_l0,
    )
    for candidate in candidates:
        if candidate.at_target if suite.sweep.choose == "target_l0" else candidate.chosen:
            return candidate.config
    return None


def selected_in_store(suite: Suite, store: Store, store_path: str | Path, images: Any) -> Suite:
    """The suite with the selections that an earlier run's sweep in the store leads to; runs nothing."""
    from harness.judging.selection import cells_in_store

    if not selects(suite):
        return suite
    swept = [[] if sweep is None else cells_in_store(store, sweep, images) for sweep in sweeps_before(suite)]
    found = with_selected(suite, store_path, swept)
    return found.suite or suite


#: An L0 this near to the target counts as reaching it.
TARGET_TOLERANCE = 0.15


_DESCRIBED = ("backbone", "site", "evaluation_fingerprint", "method", "config")


class Candidate(NamedTuple):
    """One configuration of a family and how it did."""

    family: str
    config: Mapping[str, Any]
    """the settings that are swept"""
    r2: float
    l0: float
    """active units a token"""
    score: float
    """eq. 9; NaN where R2 or L0 is not finite"""
    chosen: bool
    """largest score of its family"""
    at_target: bool
    """the alternative choice, at the target L0"""
    target: str = ""
    """backbone and layer"""


def has_fixed_l0(family: str) -> bool:
    """Whether the family's L0 is a setting (``k``) and not a result."""
    return "k" in METHODS.get(family).Config.model_fields


def selection_scores(r2: Sequence[float], l0: Sequence[float], *, fixed_l0: bool = False) -> np.ndarray:
    """Eq. 9, ``(1 - MSE~) / 2 + (1 - L0~) / 2``, MSE~ and L0~ min-max normalised within the family.

    1 - R2 stands in the place of the MSE. R2 is a mean over features of errors that are divided by each feature's
    variance, the MSE a plain one: where variances differ much, another configuration can win. The division of L0 by the
    number of units is a factor that the normalisation removes.
    A term that does not vary normalises to 0 for all, so that the other decides. Where L0 is a setting
    (``fixed_l0``), what is left of its variation is noise, which min-max would blow up to half of the score: the term
    is 0 for all, and the smallest error wins.

    Returns:
        (n,) scores; NaN for candidates whose R2 or L0 is not finite, which do not take part in the normalisation.
    """
    error, active = 1 - np.asarray(r2, dtype=float), np.asarray(l0, dtype=float)
    usable = np.isfinite(error) & np.isfinite(active)
    scores = np.full(len(error), np.nan)
    if usable.any():
        sparsity = np.zeros(int(usable.sum())) if fixed_l0 else _min_max(active[usable])
        scores[usable] = 0.5 * (1 - _min_max(error[usable])) + 0.5 * (1 - sparsity)
    return scores


def _min_max(values: np.ndarray) -> np.ndarray:
    spread = values.max() - values.min()
    return (values - values.min()) / spread if spread > 0 else np.zeros_like(values)


def pick_at_target(r2: Sequence[float], l0: Sequence[float], target: float) -> int | None:
    """Index of the best R2 among the candidates within 15 % of the target L0; of none are, of the nearest by ratio."""
    usable = [i for i in range(len(r2)) if math.isfinite(r2[i]) and math.isfinite(l0[i]) and l0[i] > 0]
    if not usable:
        return None
    reached = [i for i in usable if abs(l0[i] / target - 1) <= TARGET_TOLERANCE]
    if reached:
        return max(reached, key=lambda i: (r2[i], -i))
    return min(usable, key=lambda i: (abs(math.log(l0[i] / target)), -r2[i], i))


def candidates_of(
    family: str, configs: Sequence[Mapping[str, Any]], r2: Sequence[float], l0: Sequence[float], *, target_l0: float
) -> list[Candidate]:
    """The family's configurations with their scores and both choices; ties go to the earlier one."""
    scores = selection_scores(r2, l0, fixed_l0=has_fixed_l0(family))
    best = int(np.nanargmax(scores)) if np.isfinite(scores).any() else None
    at_target = pick_at_target(r2, l0, target_l0)
    return [
        Candidate(family, config, r2[i], l0[i], float(scores[i]), i == best, i == at_target)
        for i, config in enumerate(configs)
    ]


def only_swept(suite: Suite, values: dict[str, Any]) -> dict[str, Any]:
    """The values of a suite, whose targets have the methods to sweep, as one that measures R2 and L0 and no more."""
    for described in values["targets"]:
        described["settings"] = {}
    return {
        **values,
        "name": f"{suite.name}{SUFFIX}",
        "methods": (),
        "extra": suite.extra,
        "seeds": {"tokens": suite.seeds.tokens[:1], "init": suite.seeds.init[:1]},
        "evaluation": {**values["evaluation"], "metrics": ("l0", "r2")},
        # Nobody wants ninety-nine settings judged in pairs, or each of them three times.
        "judging": None,
        "stability": None,
    }


def measured(store_path: str | Path, cell_ids: Sequence[str]) -> pd.DataFrame:
    """One row a finished cell, in the order given: what it is (``method``, ``config``, ...), ``r2``, ``l0``."""
    store = open_store(store_path)
    cells = store.cells().set_index("cell_id")
    scores = store.scores()
    scores = scores[scores["cell_id"].isin(list(cell_ids))]
    rows = []
    for cell_id in cell_ids:
        own = scores[scores["cell_id"] == cell_id].set_index("metric")["value"]
        if cell_id in cells.index and {"r2", "l0"} <= set(own.index):
            cell = cells.loc[cell_id]
            described = {key: cell[key] for key in _DESCRIBED}
            rows.append({**described, "r2": own["r2"], "l0": own["l0"]})
    return pd.DataFrame(rows, columns=[*_DESCRIBED, "r2", "l0"])
