"""Hyperparameter sweep of the trained families and the choice of one configuration each (paper, App. E.1, eq. 9).

Every configuration is a cell of the store like any other: a sweep that was interrupted goes on where it stopped. All
run on the first token seed and one training seed. :mod:`harness.run.selection` does this inside a suite.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from harness.executors import create
from harness.executors.processes import Processes
from harness.progress import Reporter
from harness.run.loop import run
from harness.run.selection import Candidate, candidates_of, measured, only_swept
from harness.run.summary import RunSummary, together
from harness.run.sweep_plot import draw
from harness.suites import Suite, Target, parse_suite
from harness.suites.grids import GRIDS, grid
from methods import METHODS


class SweepResult(NamedTuple):
    """What a sweep found."""

    summary: RunSummary
    candidates: list[Candidate]
    charts: list[Path]
    """one a target"""


def sweep_suite(suite: Suite, families: Sequence[str], overrides: Mapping[str, Any] | None = None) -> Suite:
    """The suite's targets and data with the grids of the families as its methods, and R2 and L0 as its metrics.

    Settings that are not swept are the suite's own for that family, then ``overrides`` (those that a family has).
    """
    values = suite.model_dump()
    for target, described in zip(suite.targets, values["targets"], strict=True):
        # Of several entries of a family the first one's settings count.
        own = {entry.name: dict(entry.config) for entry in reversed(suite.methods_of(target))}
        described["methods"] = [
            {"name": family, "config": {**own.get(family, {}), **_known(family, overrides or {}), **config}}
            for family in families
            for config in grid(family)
        ]
        described["token_seeds"] = suite.token_seeds_of(target)[:1]
    return parse_suite(only_swept(suite, values), source=f"sweep of {suite.name}")


def _known(family: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    fields = METHODS.get(family).Config.model_fields
    return {key: value for key, value in overrides.items() if key in fields}


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
    """Run the grids on every target, choose a configuration for each family there, and draw R2 against L0.

    Args:
        workers: processes of one thread each that compute cells side by side; 1: this process, with all its threads.

    Raises:
        UserError: for a family without a grid, or anything wrong with the suite.
    """
    folder = Path(store_path).expanduser().absolute().parent
    summaries: list[RunSummary] = []
    found: list[Candidate] = []
    charts: list[Path] = []
    with Processes(workers) if workers > 1 else create("local") as executor:
        for leaf, target in _layers(suite):
            planned = sweep_suite(leaf.model_copy(update={"targets": (target,)}), families, overrides)
            summary = run(planned, store_path, device=device, cache=cache, executor=executor, reporter=reporter)
            summaries.append(summary)
            title = f"{target.backbone} at {target.site}" if target.site else target.backbone
            own = _chosen(measured(store_path, summary.cell_ids), families, target_l0, title)
            if own:
                number = f"-{len(charts) + 1}" if charts else ""
                charts.append(draw(own, folder / f"{planned.name.replace('/', '-')}{number}.svg", target_l0))
            found += own
            if summary.interrupted:
                break
    return SweepResult(together(summaries), found, charts)


def _layers(suite: Suite) -> Iterator[tuple[Suite, Target]]:
    """Each layer of each leaf once, with all methods that the suite has for it: it may be listed several times."""
    for leaf in suite.leaves:
        layers: dict[tuple[Any, ...], list[Target]] = {}
        for target in leaf.targets:
            key = (target.backbone, target.site, target.checkpoint, target.weights, target.head)
            layers.setdefault(key, []).append(target)
        for same in layers.values():
            entries = tuple(entry for target in same for entry in leaf.methods_of(target))
            yield leaf, same[0].model_copy(update={"methods": entries, "settings": {}})


def _chosen(frame: pd.DataFrame, families: Sequence[str], target_l0: float, title: str) -> list[Candidate]:
    found: list[Candidate] = []
    for family in families:
        rows = frame[frame["method"] == family]
        if rows.empty:
            continue
        configs = [{key: config[key] for key in GRIDS[family]} for config in rows["config"]]
        own = candidates_of(family, configs, list(rows["r2"]), list(rows["l0"]), target_l0=target_l0)
        found += [candidate._replace(target=title) for candidate in own]
    return found
