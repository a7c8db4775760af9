"""Hyperparameter sweep of the trained families, and selection of one configuration per family (App. E.1, eq. 9).

Each configuration is an ordinary cell of the store, so an interrupted sweep resumes where it stopped. All cells use the
first token seed and one training seed. :mod:`harness.run.selection` does the targets inside a suite.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from harness.executors import create
from harness.executors.processes import Processes
from harness.identity import canonical
from harness.progress import Reporter
from harness.run.loop import run
from harness.run.selection import Candidate, candidates_of, sweep_of, sweep_results
from harness.run.summary import RunSummary, combine_summaries
from harness.run.sweep_plot import draw
from harness.suites import MethodEntry, Suite, Target
from harness.suites.grids import GRIDS, grid
from methods import METHODS


class SweepResult(NamedTuple):
    """Result of a sweep."""

    summary: RunSummary
    candidates: list[Candidate]
    charts: list[Path]
    """one per target"""


def _grid_methods(
    entries: Sequence[MethodEntry], families: Sequence[str], overrides: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the methods of the families' grids.

    Settings that are not swept are those of the family's first entry, updated by the ``overrides`` that it has.
    """
    entry_configs = {entry.name: entry.config for entry in reversed(entries)}
    methods = []
    for family in families:
        points = grid(family)
        fields = METHODS.get(family).Config.model_fields
        family_overrides = {key: value for key, value in overrides.items() if key in fields}
        config = {**entry_configs.get(family, {}), **family_overrides}
        methods += [{"name": family, "config": {**config, **point}} for point in points]
    return methods


def sweep(
    suite: Suite,
    store_path: str | Path,
    *,
    families: Sequence[str] = tuple(GRIDS),
    overrides: Mapping[str, Any] | None = None,
    target_l0: float = 20.0,
    device: str = "auto",
    cache: str | Path | None = None,
    workers: int = 1,
    reporter: Reporter | None = None,
) -> SweepResult:
    """Run the grids on every target, select one configuration per family and target, and plot R2 against L0.

    Args:
        suite: suite with the targets and data.
        store_path: DuckDB file; the plots are written to its folder.
        families: families to sweep; default: all that have a grid.
        overrides: settings that are not swept, applied to the families that have them.
        target_l0: L0 of the alternative selection, see :func:`harness.run.selection.pick_at_target`.
        device, cache, reporter: see :func:`harness.run.run`.
        workers: number of processes with one thread each; 1: this process with all its threads.

    Raises:
        UserError: if a family has no grid, or the suite is invalid or cannot run.
    """
    folder = Path(store_path).expanduser().absolute().parent
    summaries: list[RunSummary] = []
    candidates: list[Candidate] = []
    charts: list[Path] = []
    with Processes(workers) if workers > 1 else create("local") as executor:
        for leaf, target in _layers(suite):
            methods = _grid_methods(leaf.methods_of(target), families, overrides or {})
            leaf_sweep = sweep_of(leaf, target, methods)
            summary = run(leaf_sweep, store_path, device=device, cache=cache, executor=executor, reporter=reporter)
            summaries.append(summary)
            title = f"{target.backbone} at {target.site}" if target.site else target.backbone
            target_candidates = _candidates(sweep_results(store_path, summary.cell_ids), families, target_l0, title)
            if target_candidates:
                number = f"-{len(charts) + 1}" if charts else ""
                charts.append(
                    draw(target_candidates, folder / f"{leaf_sweep.name.replace('/', '-')}{number}.svg", target_l0)
                )
            candidates += target_candidates
            if summary.interrupted:
                break
    return SweepResult(combine_summaries(summaries), candidates, charts)


def _layers(suite: Suite) -> Iterator[tuple[Suite, Target]]:
    """Yield each layer of each leaf once, with the methods of all targets that list it."""
    for leaf in suite.leaves:
        layers: dict[tuple[Any, ...], list[Target]] = {}
        for target in leaf.targets:
            head = (target.head, canonical(target.head_settings))
            key = (target.backbone, target.site, target.checkpoint, target.weights, *head)
            layers.setdefault(key, []).append(target)
        for targets in layers.values():
            entries = tuple(entry for target in targets for entry in leaf.methods_of(target))
            yield leaf, targets[0].model_copy(update={"methods": entries, "settings": {}})


def _candidates(frame: pd.DataFrame, families: Sequence[str], target_l0: float, title: str) -> list[Candidate]:
    candidates: list[Candidate] = []
    for family in families:
        rows = frame[frame["method"] == family]
        configs = [{key: config[key] for key in GRIDS[family]} for config in rows["config"]]
        family_candidates = candidates_of(family, configs, list(rows["r2"]), list(rows["l0"]), target_l0=target_l0)
        candidates += [candidate._replace(target=title) for candidate in family_candidates]
    return candidates
