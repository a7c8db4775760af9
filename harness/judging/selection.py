"""Who competes: cells of a store that may be judged against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness import backbones
from harness.datasets.base import ImageSet
from harness.errors import UserError
from harness.identity import canonical
from harness.suites import Suite
from judges.grids import View
from methods import METHODS
from methods.base import make_config
from results import Store


@dataclass(frozen=True)
class Entrant:
    """A method in one configuration, with its cell for each token seed."""

    config_id: str
    label: str
    cells: Mapping[int, str]

    @property
    def key(self) -> str:
        """What tells it from the others in statistics."""
        return f"{self.config_id}:{self.label}"


@dataclass(frozen=True)
class Contest:
    """Entrants on the same layer, the same evaluation images and the same probing set."""

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
    """Group finished cells into contests, one for each board of the leaderboard; other cells are left out.

    Where a method has several cells with one token seed (several init seeds), the first in ``cell_ids`` competes.
    """
    position = {cell_id: number for number, cell_id in enumerate(cell_ids)}
    cells = store.cells()
    cells = cells[cells["cell_id"].isin(position) & (cells["status"] == "finished")]
    cells = cells.assign(position=cells["cell_id"].map(position)).sort_values("position")
    found = []
    for _, group in cells.groupby(_GROUP, sort=False, dropna=False):
        chosen = group.drop_duplicates(["config_id", "label", "token_seed"])
        entrants = [
            Entrant(str(config_id), str(label), {int(row.token_seed): row.cell_id for row in own.itertuples()})
            for (config_id, label), own in chosen.groupby(["config_id", "label"], sort=True)
        ]
        first = chosen.iloc[0]
        found.append(
            Contest(
                backbone=first["backbone"],
                title=f"{first['backbone_title'] or first['backbone']} at {first['site']}",
                site=first["site"],
                evaluation_fingerprint=first["evaluation_fingerprint"],
                view=_view(first["identity"]),
                entrants=tuple(entrants),
                cell_ids=tuple(sorted(chosen["cell_id"])),
            )
        )
    return found


def cells_in_store(store: Store, suite: Suite, images: ImageSet) -> list[str]:
    """Finished cells of a store that are a suite's, in the suite's order; loads no backbone.

    A cell is the suite's if it has the backbone and site of one of its targets, the method and configuration of one of
    the target's entries, seeds of the suite, and was evaluated on ``images``.

    Raises:
        UserError: an unknown method or setting in the suite.
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
        here = cells[cells["backbone"] == backbones.name_of(target.backbone)]
        if target.site is not None:
            here = here[here["site"] == target.site]
        listed = [
            (entry.name, make_config(METHODS.get(entry.name), entry.config).model_dump(mode="json"))
            for entry in suite.methods_of(target)
        ]
        # As an array: of an empty list pandas takes no columns, instead of no rows.
        here = here[np.array([pair in listed for pair in zip(here["method"], here["config"], strict=True)], dtype=bool)]
        here = here[here["token_seed"].isin(suite.token_seeds_of(target)) & here["init_seed"].isin(suite.seeds.init)]
        order = [suite.seeds.init.index(int(seed)) for seed in here["init_seed"]]
        # Of two cells with the same seeds (run again under another identity) the newer one competes.
        newest = here.assign(order=order, settings=[canonical(config) for config in here["config"]]).iloc[::-1]
        newest = newest.drop_duplicates(["method", "settings", "site", "token_seed", "init_seed", *_SETS])
        chosen += newest.sort_values("order", kind="stable")["cell_id"].tolist()
    return list(dict.fromkeys(chosen))


def same_images(store: Store, fingerprint: str, images: ImageSet) -> bool:
    """Whether the evaluation split that a store knows by a fingerprint has these images, by name and in this order."""
    return list(store.images(fingerprint)["name"]) == [record.name for record in images.records]


def require_same_images(store: Store, contest: Contest, images: ImageSet) -> None:
    """Raises UserError unless ``images`` are those the contest's units were measured on."""
    if not same_images(store, contest.evaluation_fingerprint, images):
        raise UserError(
            f"The images at hand ({len(images)} of {images.name!r}) are not those that {contest.title} was evaluated "
            "on; give the data set it was run with: --dataset SPEC, and the same split in the suite."
        )


def _view(identity: Mapping[str, Any] | None) -> View:
    """What the network saw of each image, from a cell's identity; the centre square where it does not say."""
    seen = ((identity or {}).get("evaluation") or {}).get("preprocessing") or {}
    if seen.get("fit") == "squash":
        return View("squash")
    return View("crop", seen["size"] / seen["resize"] if seen.get("resize") else 1.0)
