"""``select = true`` in a suite: the family's grid is run first, and what eq. 9 picks of it takes the method's place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from harness.suite import MethodEntry, Suite, Target, parse_suite
from harness.sweep import GRIDS, candidates_of, grid, measured, only_swept
from methods import METHODS
from methods.base import make_config
from results import Store


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
