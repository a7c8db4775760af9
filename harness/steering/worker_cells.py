"""Cells that the worker behind the page Steer has opened: the last ones stay in memory."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import UserError
from harness.steering.steer_request import SteerRequest
from harness.steering.steered import Steered
from harness.suites import Suite
from results import Store
from results.boards.families import membership
from results.store.artifacts import artifact_file
from results.store.records import records_of
from results.visible_text import one_line

if TYPE_CHECKING:
    from harness.steering.steering import SteeredCell

#: Cells in memory: each has a network.
MOST_OPEN = 2
#: Classes of the answer, by their mean over the images.
MOST_CLASSES = 20


class WorkerCells:
    """Steers the cells of a store whose layers are in a suite.

    Args:
        store: the store, which is only read.
        suite: suite with the cells' layers and images.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        cache: folder of baselines; None: ``cache/`` beside the store.
    """

    def __init__(self, store: Store, suite: Suite, *, device: str = "auto", cache: Path | None = None) -> None:
        self._store, self._suite, self._device, self._cache = store, suite, device, cache
        self._opened: OrderedDict[tuple[str, ...], SteeredCell] = OrderedDict()

    def listed(self) -> list[dict[str, Any]]:
        """Return the finished cells with a fit whose units are part of the network, with the scorers of their labels.

        The scorer whose labels are matched by default comes first.

        Raises:
            StoreError: the store cannot be read.
        """
        scorers: dict[str, list[str]] = {}
        frame = self._store.query("SELECT cell_id, scorer FROM labellings ORDER BY labelled_at DESC, labelling")
        for cell_id, scorer in frame.itertuples(index=False, name=None):
            of_cell = scorers.setdefault(str(cell_id), [])
            if scorer not in of_cell:
                of_cell.append(str(scorer))
        return [
            {
                **{name: row[name] for name in ("cell_id", "label", "backbone", "site", "token_seed", "init_seed")},
                # As in `preferred_labelling`.
                "scorers": sorted(scorers.get(row["cell_id"], []), key=lambda scorer: scorer == "classes"),
            }
            for row in records_of(self._store.cells())
            if self._is_steerable(row)
        ]

    def steer(self, request: SteerRequest) -> dict[str, Any]:
        """Return the effect as JSON: that of :func:`~harness.steering.kept_effects.kept_result`, and `classes`.

        `classes` has the mean over the images of the classes with the largest probabilities and changes.

        Raises:
            UserError: as :func:`harness.steering.steer`.
            StoreError: the store cannot be read.
        """
        # torch and the networks take seconds to import: the worker has told its port before.
        from harness.steering.kept_effects import kept_result
        from methods import numerics

        with numerics.threads():
            steered = self._cell(request.cell).steer(request.settings, request.images)
        return {
            **kept_result(steered),
            "cell": steered.cell_id,
            "matcher": steered.matcher,
            "classes": _mean_classes(steered),
        }

    def _cell(self, cell_id: str) -> SteeredCell:
        key = self._key(cell_id)
        cell = self._opened.pop(key, None)
        if cell is None:
            # Freed first, so that memory never holds one more.
            while len(self._opened) >= MOST_OPEN:
                self._opened.popitem(last=False)
            cell = self._open(cell_id)
        self._opened[key] = cell
        return cell

    def _key(self, cell_id: str) -> tuple[str, ...]:
        """Return what identifies the fit of a cell: it may be computed again while the worker runs.

        Raises:
            UserError: if there is no such cell, or its units are virtual.
        """
        rows = [row for row in records_of(self._store.cells()) if row["cell_id"] == cell_id]
        if not rows:
            raise UserError(f"There is no cell {one_line(cell_id)!r} in {self._store.path.name}: reload the page.")
        if not self._is_steerable(rows[0]):
            raise UserError(
                f"The cell {one_line(cell_id)} cannot be steered: it is not finished, its fit is not beside "
                f"{self._store.path.name}, or its units are virtual."
            )
        return cell_id, str(rows[0]["artifact"]), str(rows[0]["started_at"])

    def _open(self, cell_id: str) -> SteeredCell:
        from harness import devices
        from harness.steering.steering import SteeredCell
        from harness.steering.stored_layers import stored_layers

        device = devices.best_device(self._device)
        layers = stored_layers(self._suite, self._store, device=device, cache=self._cache, cells=[cell_id])
        layer = next(iter(layers))
        return SteeredCell(layer, layer.cells[0], self._store)

    def _is_steerable(self, row: Mapping[str, Any]) -> bool:
        file = artifact_file(self._store.path.parent, row["artifact"]) if row["artifact"] else None
        is_there = file is not None and file.exists()
        return row["status"] == "finished" and is_there and membership(row).group != "virtual"


def _mean_classes(steered: Steered) -> list[dict[str, Any]]:
    before, after, control = (steered.mean(name) for name in ("before", "after", "control"))
    ranked = [np.argsort(-np.abs(after - before), kind="stable"), np.argsort(-before, kind="stable")]
    # In turns: the largest changes, and the largest probabilities, which may stay as they are.
    order = dict.fromkeys(itertools.chain.from_iterable(zip(*(ranks.tolist() for ranks in ranked), strict=True)))
    return [
        {
            "name": steered.classes[number],
            "before": float(before[number]),
            "after": float(after[number]),
            "control": float(control[number]),
        }
        for number in itertools.islice(order, MOST_CLASSES)
    ]
