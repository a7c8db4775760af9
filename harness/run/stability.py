"""Stability of methods over seeds, from the stored fits of their cells (ELUDe paper, App. B.3).

Computed for each configuration on one board, over the initialisation seeds on one token set (``stability``, and
``stability_writer`` if units have a reading and a writing direction), and over the token seeds at one initialisation
seed (``token_sensitivity``). Needs neither backbone nor images, and fits nothing.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import methods
from harness.errors import UserError
from harness.identity import seed_of
from harness.metrics.dictionary import writing_directions
from harness.metrics.stability import matched_cosine, matched_cosine_by_parent
from harness.progress import Reporter
from results import Store, StoreError
from results.boards.board import BoardKey
from results.store import group_scores
from results.store.group_scores import GroupScoreRecord, group_id_of

#: Version of the definition; scores of different versions are never ranked together.
VERSION = 1

_BOARD = BoardKey._fields

#: Seed that varies in a group -> metric of the dictionary, and metric of the writing directions.
_METRICS = {"init_seed": ("stability", "stability_writer"), "token_seed": ("token_sensitivity", None)}

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


class FittedUnits(NamedTuple):
    """Units of one fit that are compared."""

    atoms: Tensor
    """(K, d), without those of dead units"""
    parents: Tensor | None
    """(K,) int64"""
    writers: Tensor | None
    """(K, d_out) writing directions, if the atoms are reading directions"""
    side: str
    """"reader" if ``atoms`` are reading directions, "writer" if they are writing directions"""
    zero: int
    """number of excluded atoms of length zero"""
    silent: int
    """number of other excluded units, never active on the evaluation split"""


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
    last_measured = _measured_at(store)
    groups = list(_groups(store, cell_ids))
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
        UserError: if a fit is missing or damaged, or its method is not registered.
    """
    runs = [_fitted_units(store, cell) for cell in group.cells]
    parents = [run.parents for run in runs]
    by_parent = all(owners is not None for owners in parents)
    if not by_parent:
        parents = [None] * len(runs)
    first, fixed = group.cells[0], _FIXED[group.varies]
    seeds = [cell[group.varies] for cell in group.cells]
    metric, writer_metric = _METRICS[group.varies]
    records = []
    compared = [(metric, [run.atoms for run in runs], runs[0].side)]
    writers = [run.writers for run in runs if run.writers is not None]
    if writer_metric is not None and len(writers) == len(runs):
        compared.append((writer_metric, writers, "writer"))
    for name, dictionaries, side in compared:
        pairs, identical = [], 0
        for (d1, parents1), (d2, parents2) in itertools.combinations(zip(dictionaries, parents, strict=True), 2):
            check()
            value, same = _similarity(d1, parents1, d2, parents2)
            pairs.append(value)
            identical += same
        details = {
            "on": f"{fixed.replace('_', ' ')} {first[fixed]}",
            "pairs": pairs,
            "seeds": seeds,
            "identical_pairs": identical,
            "matching": "per parent unit" if by_parent else "whole dictionary",
            "direction": side,
            "atoms": [len(run.atoms) for run in runs],
            "width": dictionaries[0].shape[1],
            "left_out": [run.zero + run.silent for run in runs],
            "zero": [run.zero for run in runs],
            "silent": [run.silent for run in runs],
            "chance": _chance(dictionaries[0], parents[0]),
        }
        finite = [value for value in pairs if np.isfinite(value)]
        records.append(
            GroupScoreRecord(
                group_id=group.group_id,
                config_id=first["config_id"],
                label=first["label"],
                cell_ids=group.cell_ids,
                metric=name,
                version=VERSION,
                params={f"{group.varies}s": sorted(seeds)},
                value=statistics.fmean(finite) if finite else float("nan"),
                uncertainty=statistics.stdev(finite) if len(finite) > 1 else None,
                uncertainty_kind="sample standard deviation over pairs of runs" if len(finite) > 1 else None,
                n=len(pairs),
                unit="",
                direction="higher",
                details=details,
            )
        )
    return records


def _groups(store: Store, cell_ids: Collection[str] | None) -> Iterator[Group]:
    cells = store.cells()
    cells = cells[(cells["status"] == "finished") & cells["artifact"].notna()]
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
    frame = frame[frame["version"] == VERSION]
    return dict(frame.groupby("group_id")["measured_at"].min())


def _latest(group: Group) -> pd.Timestamp:
    """Return the latest start of the group's cells; scores measured before that belong to earlier fits."""
    times = [cell["started_at"] for cell in group.cells if not pd.isna(cell["started_at"])]
    return max(times) if times else pd.Timestamp(0, tz="UTC")


def _fitted_units(store: Store, cell: dict[str, Any]) -> FittedUnits:
    method = methods.load(store.path.parent / cell["artifact"])
    dictionary = method.dictionary()
    atoms = dictionary.atoms.detach().cpu()
    units = store.units(cell["cell_id"])
    alive = torch.ones(len(atoms), dtype=torch.bool)
    if len(units) == len(atoms) and not bool(units["alive"].isna().any()):
        alive = torch.from_numpy(units["alive"].to_numpy(dtype=bool).copy())
    nonzero = atoms.norm(dim=1) > 0
    included = alive & nonzero
    writers = None
    if dictionary.side == "reader" and not method.spec.virtual:
        writers = writing_directions(method)[included]
    return FittedUnits(
        atoms=atoms[included],
        parents=None if dictionary.parents is None else dictionary.parents.cpu()[included],
        writers=writers,
        side=dictionary.side,
        zero=int((~nonzero).sum()),
        silent=int((nonzero & ~alive).sum()),
    )


def _similarity(d1: Tensor, parents1: Tensor | None, d2: Tensor, parents2: Tensor | None) -> tuple[float, bool]:
    """Return the matched cosine (exactly 1.0 for identical dictionaries), and True if they are bitwise identical."""
    same = len(d1) > 0 and torch.equal(d1, d2)
    if parents1 is not None and parents2 is not None:
        same = same and torch.equal(parents1, parents2)
    return (1.0 if same else _matched(d1, parents1, d2, parents2)), same


def _matched(d1: Tensor, parents1: Tensor | None, d2: Tensor, parents2: Tensor | None) -> float:
    """Return the matched cosine, within each parent if both dictionaries have parents."""
    if parents1 is None or parents2 is None:
        return matched_cosine(d1, d2)
    return matched_cosine_by_parent(d1, parents1, d2, parents2)


def _chance(atoms: Tensor, parents: Tensor | None) -> float | None:
    """Return the matched cosine of two Gaussian dictionaries of this shape; None without atoms."""
    owners = None if parents is None else tuple(parents.tolist())
    return random_similarity(len(atoms), atoms.shape[1], owners) if len(atoms) else None


@lru_cache(maxsize=64)
def random_similarity(n_atoms: int, width: int, parents: tuple[int, ...] | None = None) -> float:
    """Return the matched cosine of two random dictionaries (n_atoms, width), about .130 for 6144 x 768.

    With ``parents``, the parent of each atom in both, atoms are only matched within their parent.
    """
    first, second = (
        torch.randn(n_atoms, width, generator=torch.Generator().manual_seed(seed))
        for seed in (seed_of("random dictionary", n_atoms, width, number) for number in (0, 1))
    )
    owners = None if parents is None else torch.tensor(parents)
    return _matched(first, owners, second, owners)
