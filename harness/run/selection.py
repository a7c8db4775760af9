"""Selection of hyperparameters (``select = true``): run the grid of a family and use the configuration of eq. 9."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from harness.judging.selection import cells_in_store
from harness.suites import MethodEntry, Suite, Target, parse_suite
from harness.suites.grids import grid
from methods import METHODS
from methods.base import make_config
from methods.file_settings import plain_config
from results import Store, open_store
from results.boards.seeds import SUFFIX


class SelectedConfig(NamedTuple):
    """Suite in which every selection has been made."""

    suite: Suite | None
    """None if nothing is left to run"""
    notes: list[str]
    """selected configurations, and methods left out because no configuration of their grid finished"""


def has_selections(suite: Suite) -> bool:
    """Return True if a method of the suite (without parts) has ``select = true``."""
    return any(entry.select for target in suite.targets for entry in suite.methods_of(target))


def sweep_suites(suite: Suite) -> list[Suite | None]:
    """Return, for each target, the suite of grids to run before it, or None if the target selects nothing.

    Each target has a separate sweep, because two checkpoints of one architecture have the same backbone and site names.
    """
    sweeps: list[Suite | None] = []
    for target in suite.targets:
        methods = [
            {"name": entry.name, "config": {**entry.config, **point}}
            for entry in suite.methods_of(target)
            if entry.select
            for point in grid(entry.name, suite.sweep.grid)
        ]
        sweeps.append(sweep_of(suite, target, methods) if methods else None)
    return sweeps


def sweep_of(suite: Suite, target: Target, methods: Sequence[Mapping[str, Any]]) -> Suite:
    """Return the suite that runs methods on one target, with one training seed and the first token seed.

    It measures R2 and L0 only. Judging all configurations in pairs, or running each with three seeds, would be too
    expensive.
    """
    values = suite.model_dump()
    token_seeds = suite.token_seeds_of(target)[:1]
    return parse_suite(
        {
            **values,
            "name": f"{suite.name}{SUFFIX}",
            "targets": [{**target.model_dump(), "methods": methods, "settings": {}, "token_seeds": token_seeds}],
            "methods": (),
            "extra": suite.extra,
            "seeds": {"tokens": suite.seeds.tokens[:1], "init": suite.seeds.init[:1]},
            "evaluation": {**values["evaluation"], "metrics": ("l0", "r2")},
            "judging": None,
            "stability": None,
        },
        source=f"sweep of {suite.name}",
    )


def with_selections(suite: Suite, store_path: str | Path, cell_ids: Sequence[Sequence[str]]) -> SelectedConfig:
    """Return the suite with the configurations selected from the cells of the sweeps.

    The selection is made within a family and target, as in the paper. Ties go to the earlier configuration. The suite
    has no parts. ``cell_ids`` are the cells of the sweep of each target, in the order of :func:`sweep_suites`.
    """
    targets: list[Target] = []
    notes: list[str] = []
    for target, target_cells in zip(suite.targets, cell_ids, strict=True):
        rows = sweep_results(store_path, target_cells)
        # Cells that are looked up by name may belong to several networks; each has its own selection.
        networks = [network for _, network in rows.groupby("evaluation_fingerprint", sort=False)]
        layer = f"{target.backbone} at {target.site}" if target.site else target.backbone
        entries = []
        for entry in suite.methods_of(target):
            if not entry.select:
                entries.append(entry)
                continue
            selected = [point for network in networks if (point := _select_point(entry, suite, network)) is not None]
            points = [point for number, point in enumerate(selected) if point not in selected[:number]]
            label = entry.label or METHODS.get(entry.name).spec.title
            if not points:
                notes.append(f"{label} on {layer} is left out: no configuration of its sweep has finished.")
            for point in points:
                settings = ", ".join(f"{key} {value:g}" for key, value in point.items())
                notes.append(f"{label} on {layer}: the sweep selected {settings}.")
                entries.append(entry.model_copy(update={"config": {**entry.config, **point}, "select": False}))
        if entries:
            targets.append(target.model_copy(update={"methods": tuple(entries), "settings": {}}))
    if not targets:
        return SelectedConfig(None, notes)
    return SelectedConfig(suite.model_copy(update={"targets": tuple(targets), "methods": ()}), notes)


def _select_point(entry: MethodEntry, suite: Suite, rows: pd.DataFrame) -> Mapping[str, Any] | None:
    method = METHODS.get(entry.name)
    rows = rows[rows["method"] == entry.name]
    finished = []
    for point in grid(entry.name, suite.sweep.grid):
        config = plain_config(make_config(method, {**entry.config, **point}))
        matches = rows[[stored == config for stored in rows["config"]]]
        if len(matches):
            finished.append((point, float(matches.iloc[0]["r2"]), float(matches.iloc[0]["l0"])))
    points, r2, l0 = zip(*finished, strict=True) if finished else ((), (), ())
    candidates = candidates_of(entry.name, points, r2, l0, target_l0=suite.sweep.target_l0)
    by_target = suite.sweep.choose == "target_l0"
    return next((each.config for each in candidates if (each.at_target if by_target else each.chosen)), None)


def selected_in_store(suite: Suite, store: Store, store_path: str | Path, images: Any) -> Suite:
    """Return the suite with selections from sweeps that are already in the store; nothing is run."""
    if not has_selections(suite):
        return suite
    swept = [[] if sweep is None else cells_in_store(store, sweep, images) for sweep in sweep_suites(suite)]
    selected = with_selections(suite, store_path, swept)
    return selected.suite or suite


#: Largest relative difference between an L0 and the target L0 that counts as reaching the target.
TARGET_TOLERANCE = 0.15


class Candidate(NamedTuple):
    """Configuration of a family with its results."""

    family: str
    config: Mapping[str, Any]
    """the settings that are swept"""
    r2: float
    l0: float
    """active units per token"""
    score: float
    """eq. 9; NaN if R2 or L0 is not finite"""
    chosen: bool
    """True for the largest score of the family"""
    at_target: bool
    """True for the alternative selection, at the target L0"""
    target: str = ""
    """backbone and layer"""


def selection_scores(r2: Sequence[float], l0: Sequence[float], *, fixed_l0: bool = False) -> np.ndarray:
    """Return the scores of eq. 9, ``(1 - MSE~) / 2 + (1 - L0~) / 2``.

    MSE~ and L0~ are min-max normalised within the family. 1 - R2 replaces the MSE: R2 averages errors that are divided
    by the variance of each feature, the MSE does not, so a different configuration can win if variances differ much.
    The division of L0 by the number of units is omitted, because normalisation removes it.
    A term that does not vary normalises to 0 for all candidates, so the other term decides. If L0 is a setting
    (``fixed_l0``), its remaining variation is noise, which the normalisation would scale to half of the score. The term
    is then 0 for all candidates, and the smallest error wins.

    Returns:
        (n,) scores; NaN for candidates whose R2 or L0 is not finite, which are excluded from the normalisation.
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
    """Return the index of the best R2 within 15 % of the target L0, else of the nearest L0 by ratio; None if empty."""
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
    """Return the configurations of a family with their scores and both selections; ties go to the earlier one."""
    # The L0 of a family with the setting k is that setting, and not a result.
    scores = selection_scores(r2, l0, fixed_l0="k" in METHODS.get(family).Config.model_fields)
    best = int(np.nanargmax(scores)) if np.isfinite(scores).any() else None
    at_target = pick_at_target(r2, l0, target_l0)
    return [
        Candidate(family, config, r2[i], l0[i], float(scores[i]), i == best, i == at_target)
        for i, config in enumerate(configs)
    ]


def sweep_results(store_path: str | Path, cell_ids: Sequence[str]) -> pd.DataFrame:
    """Return the rows of the finished cells in the given order, with columns ``r2`` and ``l0``."""
    store = open_store(store_path)
    rows, scores = store.cells().set_index("cell_id"), store.scores()
    for metric in ("r2", "l0"):
        values = scores[scores["metric"] == metric].set_index("cell_id")["value"]
        rows = rows.join(values.rename(metric), how="inner")
    return rows.loc[[cell_id for cell_id in cell_ids if cell_id in rows.index]]
