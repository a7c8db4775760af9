"""Selection of the cells of a store that can be judged against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness import backbones
from harness.datasets.base import ImageSet
from harness.errors import UserError
from harness.identity import canonical
from harness.suites import Suite
from methods import METHODS
from methods.base import make_config
from methods.file_settings import plain_config
from results import Store
from results.views import View, view_of


@dataclass(frozen=True)
class Entrant:
    """Method in one configuration, with its cell for each token seed."""

    config_id: str
    label: str
    cells: Mapping[int, str]

    @property
    def key(self) -> str:
        """Identifier of the entrant in the statistics."""
        return f"{self.config_id}:{self.label}"


@dataclass(frozen=True)
class Contest:
    """Entrants on the same layer, evaluation images and probing set."""

    backbone: str
    title: str
    site: str
    evaluation_fingerprint: str
    view: View
    entrants: tuple[Entrant, ...]
    cell_ids: tuple[str, ...]


_SETS = ["evaluation_fingerprint", "probing_fingerprint"]
_GROUP = ["backbone", "site", "dataset", *_SETS]


def contests(store: Store, cell_ids: Sequence[str]) -> list[Contest]:
    """Group finished cells into contests, one per board of the leaderboard; other cells are ignored.

    If a method has several cells with one token seed (several init seeds), the first in ``cell_ids`` competes.
    """
    position = {cell_id: number for number, cell_id in enumerate(cell_ids)}
    cells = store.cells()
    cells = cells[cells["cell_id"].isin(position) & (cells["status"] == "finished")]
    cells = cells.assign(position=cells["cell_id"].map(position)).sort_values("position")
    grouped = []
    for _, group in cells.groupby(_GROUP, sort=False, dropna=False):
        chosen = group.drop_duplicates(["config_id", "label", "token_seed"])
        entrants = [
            Entrant(str(config_id), str(label), {int(row.token_seed): row.cell_id for row in members.itertuples()})
            for (config_id, label), members in chosen.groupby(["config_id", "label"], sort=True)
        ]
        first = chosen.iloc[0]
        grouped.append(
            Contest(
                backbone=first["backbone"],
                title=f"{first['backbone_title'] or first['backbone']} at {first['site']}",
                site=first["site"],
                evaluation_fingerprint=first["evaluation_fingerprint"],
                view=view_of(first["identity"]),
                entrants=tuple(entrants),
                cell_ids=tuple(sorted(chosen["cell_id"])),
            )
        )
    return grouped


def cells_in_store(store: Store, suite: Suite, images: ImageSet) -> list[str]:
    """Return the ids of a store's finished cells that belong to a suite, in the suite's order; loads no backbone.

    A cell belongs to the suite if its backbone and site are those of a target, its method and configuration those of an
    entry of the target, its seeds those of the suite, and it was evaluated on ``images``.

    Raises:
        UserError: if a method or setting of the suite is unknown.
    """
    cells = store.cells()
    cells = cells[cells["status"] == "finished"]
    fingerprints = {
        fingerprint
        for fingerprint in cells["evaluation_fingerprint"].unique()
        if same_images(store, fingerprint, images)
    }
    cells = cells[cells["evaluation_fingerprint"].isin(fingerprints)]
    chosen: list[str] = []
    for target in suite.targets:
        rows = cells[cells["backbone"] == backbones.name_of(target.backbone)]
        if target.site is not None:
            rows = rows[rows["site"] == target.site]
        configured = [
            (entry.name, plain_config(make_config(METHODS.get(entry.name), entry.config)))
            for entry in suite.methods_of(target)
        ]
        # An array, because pandas treats an empty list as a selection of columns.
        rows = rows[
            np.array([pair in configured for pair in zip(rows["method"], rows["config"], strict=True)], dtype=bool)
        ]
        rows = rows[rows["token_seed"].isin(suite.token_seeds_of(target)) & rows["init_seed"].isin(suite.seeds.init)]
        order = [suite.seeds.init.index(int(seed)) for seed in rows["init_seed"]]
        # Of two cells with the same seeds (run again under another identity) the newer one is used.
        newest = rows.assign(order=order, settings=[canonical(config) for config in rows["config"]]).iloc[::-1]
        newest = newest.drop_duplicates(["method", "settings", "site", "token_seed", "init_seed", *_SETS])
        chosen += newest.sort_values("order", kind="stable")["cell_id"].tolist()
    return list(dict.fromkeys(chosen))


def same_images(store: Store, fingerprint: str, images: ImageSet) -> bool:
    """Return True if the stored evaluation split with this fingerprint has these image names in this order."""
    return list(store.images(fingerprint)["name"]) == [record.name for record in images.records]


def require_same_images(store: Store, contest: Contest, images: ImageSet) -> None:
    """Raise UserError unless ``images`` are those on which the units of the contest were measured."""
    if not same_images(store, contest.evaluation_fingerprint, images):
        raise UserError(
            f"The images ({len(images)} of {images.name!r}) are not those that {contest.title} was evaluated on. "
            "Give the same data set with --dataset SPEC, and use the same split in the suite."
        )
