"""Stability of methods over seeds, from the stored fits of their cells (ELUDe paper, App. B.3).

Computed for each configuration on one board, over the initialisation seeds on one token set (``stability``, and
``stability_writer`` if units have a reading and a writing direction), and over the token seeds at one initialisation
seed (``token_sensitivity``). Dictionaries are compared as a whole, with their silent units; ``stability_alive`` and the
``alive`` entry in the details of the others leave these out. Needs neither backbone nor images, and fits nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd

from harness.errors import UserError
from harness.progress import Reporter
from harness.run.unit_matching import ALIVE, FULL, FittedUnits, Matching, Units, fitted_units, match
from methods.tracing import traced
from results import Store, StoreError
from results.boards.board import BoardKey
from results.store import group_scores
from results.store.artifacts import artifact_file
from results.store.group_scores import GroupScoreRecord, group_id_of
from results.store.stability_versions import FULL_DECODER_VERSION

#: Version of each metric; scores of different versions are never ranked together. Version 1 of the metrics that count
#: every atom left silent units out, as ``stability_alive`` does.
VERSIONS = {
    **dict.fromkeys(("stability", "stability_writer", "token_sensitivity"), FULL_DECODER_VERSION),
    "stability_alive": 1,
}

_BOARD = BoardKey._fields

#: Seed that varies in a group -> metric of the dictionary, and metric of the writing directions.
_METRICS = {"init_seed": ("stability", "stability_writer"), "token_seed": ("token_sensitivity", None)}
_MAIN = [metric for metric, _ in _METRICS.values()]

#: Metric of all atoms -> metric of the alive units; the other metrics have it in their details.
_ALIVE = {"stability": "stability_alive"}

#: Seed that varies in a group -> seed that its cells share.
_FIXED = {"init_seed": "token_seed", "token_seed": "init_seed"}


class Group(NamedTuple):
    """Finished cells that differ only in one seed."""

    varies: str
    """``init_seed`` or ``token_seed``"""
    cells: tuple[dict[str, Any], ...]
    """sorted by that seed"""

    @property
    def cell_ids(self) -> list[str]:
        return [cell["cell_id"] for cell in self.cells]

    @property
    def group_id(self) -> str:
        return group_id_of(self.cell_ids, self.varies)

    @property
    def title(self) -> str:
        seeds = ", ".join(str(cell[self.varies]) for cell in self.cells)
        return f"{self.cells[0]['label']} at {self.cells[0]['site']}, {self.varies.replace('_', ' ')}s {seeds}"


class StabilityResult(NamedTuple):
    """Result of :func:`measure`."""

    records: list[GroupScoreRecord]
    kept: int
    """number of groups that were already measured"""
    problems: list[str]
    """groups that could not be measured, with the reason"""


def measure(
    store: Store,
    *,
    cell_ids: Collection[str] | None = None,
    anew: bool = False,
    check: Callable[[], None] = lambda: None,
    reporter: Reporter | None = None,
) -> StabilityResult:
    """Measure and store the stability of every group of cells that has not been measured since its cells were run.

    Args:
        store: store with the cells; receives the scores.
        cell_ids: cells whose groups are measured; None: those of the whole store.
        anew: also measure groups that are already measured.
        check: called between pairs; may raise to stop.
        reporter: receives the progress.

    Raises:
        StoreError: the store cannot be read or written.
    """
    result = StabilityResult([], 0, [])
    kept = 0
    groups = list(_groups(store, cell_ids))
    last_measured = _measured_at(store) if groups else {}
    for number, group in enumerate(groups):
        check()
        if reporter is not None:
            reporter.progress(number, len(groups), f"stability of {group.title}")
        if not anew and group.group_id in last_measured and last_measured[group.group_id] >= _latest(group):
            kept += 1
            continue
        try:
            records = measure_group(store, group, check=check)
        except (UserError, StoreError) as error:
            result.problems.append(f"{group.title}: {error}")
            continue
        group_scores.record_group_scores(store, records)
        result.records.extend(records)
    return result._replace(kept=kept)


@traced("stability of methods, on the CPU")
def measure_run(store: Store, cell_ids: Sequence[str], reporter: Reporter, check: Callable[[], None]) -> None:
    """Measure the stability of the cells of a run as its last step; errors are reported and do not stop the run."""
    try:
        result = measure(store, cell_ids=cell_ids, check=check, reporter=reporter)
    except Exception as error:
        # The cells are already stored, so an error here must not make the run fail.
        reporter.say(f"Stability was not measured: {error} Run `harness stability` to try again.")
        return
    for problem in result.problems:
        reporter.say(f"Stability was not measured: {problem}")


def measure_group(store: Store, group: Group, *, check: Callable[[], None] = lambda: None) -> list[GroupScoreRecord]:
    """Compare every pair of runs of a group.

    Raises:
        UserError: if a fit is missing or damaged, its method is not registered, or it has no dictionary.
    """
    runs = [fitted_units(store, cell) for cell in group.cells]
    metric, writer_metric = _METRICS[group.varies]
    records = _compared(group, metric, runs, check)
    if writer_metric is not None and all(run.writers is not None for run in runs):
        records += _compared(group, writer_metric, runs, check, writers=True)
    return records


def _compared(
    group: Group, metric: str, runs: Sequence[FittedUnits], check: Callable[[], None], *, writers: bool = False
) -> list[GroupScoreRecord]:
    """Compare the runs by both definitions; `metric` counts all atoms."""
    by_parent = all(run.parents is not None for run in runs)
    full, alive = (
        [run.counted(definition, by_parent=by_parent, writers=writers) for run in runs] for definition in (FULL, ALIVE)
    )
    shared = {
        "seeds": [cell[group.varies] for cell in group.cells],
        "on": f"{_FIXED[group.varies].replace('_', ' ')} {group.cells[0][_FIXED[group.varies]]}",
        "matching": "per parent unit" if by_parent else "whole dictionary",
        "direction": "writer" if writers else runs[0].side,
        "zero": [int(run.zero.sum()) for run in runs],
        "silent": [int(run.silent.sum()) for run in runs],
    }
    of_all = match(full, FULL, check)
    is_same = not by_parent and len({len(units.atoms) for units in [*full, *alive]}) == 1
    of_alive = of_all if is_same else match(alive, ALIVE, check)
    details_of_all = {**shared, **_details(runs, full, of_all)}
    details_of_alive = {**shared, **_details(runs, alive, of_alive)}
    if metric in _ALIVE:
        return [
            _record(group, metric, of_all, details_of_all),
            _record(group, _ALIVE[metric], of_alive, details_of_alive),
        ]
    details_of_all["alive"] = {"value": of_alive.mean, "pairs": of_alive.pairs, "atoms": details_of_alive["atoms"]}
    return [_record(group, metric, of_all, details_of_all)]


def _details(runs: Sequence[FittedUnits], counted: Sequence[Units], matching: Matching) -> dict[str, Any]:
    return {
        "pairs": matching.pairs,
        "identical_pairs": matching.identical,
        "atoms": [len(units.atoms) for units in counted],
        "width": counted[0].atoms.shape[1],
        "left_out": [len(run.atoms) - len(units.atoms) for run, units in zip(runs, counted, strict=True)],
        "unmatched": matching.unmatched,
        "chance": matching.chance,
    }


def _record(group: Group, metric: str, matching: Matching, details: dict[str, Any]) -> GroupScoreRecord:
    first, finite = group.cells[0], matching.finite
    return GroupScoreRecord(
        group_id=group.group_id,
        config_id=first["config_id"],
        label=first["label"],
        cell_ids=group.cell_ids,
        metric=metric,
        version=VERSIONS[metric],
        params={f"{group.varies}s": sorted(cell[group.varies] for cell in group.cells)},
        value=matching.mean,
        uncertainty=statistics.stdev(finite) if len(finite) > 1 else None,
        uncertainty_kind="sample standard deviation over pairs of runs" if len(finite) > 1 else None,
        n=len(matching.pairs),
        unit="",
        direction="higher",
        details=details,
    )


def _groups(store: Store, cell_ids: Collection[str] | None) -> Iterator[Group]:
    cells = store.cells()
    cells = cells[(cells["status"] == "finished") & cells["artifact"].notna()]
    # A store may come from anyone: fits are read from its own folder only.
    readable = cells["artifact"].map(lambda name: artifact_file(store.path.parent, name) is not None)
    cells = cells[readable.astype(bool)]
    if cell_ids is not None:
        cells = cells[cells["cell_id"].isin(set(cell_ids))]
    for varies, fixed in _FIXED.items():
        usable = cells[cells[varies].notna()]
        for _, cells_of_config in usable.groupby([*_BOARD, "config_id", "label", fixed], sort=False, dropna=False):
            # Of two cells with the same seeds (run again under another identity) the newer is used, as on boards.
            members = cells_of_config.drop_duplicates(varies, keep="last").sort_values(varies)
            if len(members) > 1:
                yield Group(varies, tuple(_plain(row) for row in members.to_dict("records")))


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    seeds = {name: None if pd.isna(row[name]) else int(row[name]) for name in ("token_seed", "init_seed")}
    return {**row, **seeds}


def _measured_at(store: Store) -> dict[str, pd.Timestamp]:
    frame = group_scores.group_scores(store)
    # All metrics of a group are written together, so that one of them tells for all.
    frame = frame[frame["metric"].isin(_MAIN) & (frame["version"] == frame["metric"].map(VERSIONS))]
    return dict(frame.groupby("group_id")["measured_at"].min())


def _latest(group: Group) -> pd.Timestamp:
    """Return the latest start of the group's cells; scores measured before that belong to earlier fits."""
    times = [cell["started_at"] for cell in group.cells if not pd.isna(cell["started_at"])]
    return max(times) if times else pd.Timestamp(0, tz="UTC")
