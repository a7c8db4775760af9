"""Steering of one stored cell: amplify and suppress concepts, and compare the class distribution before and after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness import devices
from harness.activations.interventions import edit_of, require_editable
from harness.cells.named_cell import named_cell
from harness.errors import UserError
from harness.identity import seed_of
from harness.progress import Reporter, Silent
from harness.steering.concept_units import concept_units
from harness.steering.effects import divergence
from harness.steering.head_classes import head_classes
from harness.steering.kept_effects import keep_steered
from harness.steering.steered import Steered, SteeredImage, SteerSettings
from harness.steering.steered_passes import SteeredPasses, Touched
from harness.steering.stored_layers import StoredLayer, stored_layers
from harness.suites import Suite
from methods import numerics
from methods.base import Method
from results import Store
from results.store.records import records_of
from results.visible_text import names_text


def steer(
    store: Store,
    suite: Suite,
    cell: str,
    settings: SteerSettings,
    *,
    images: Sequence[int | str] | None = None,
    keep: bool = False,
    device: str = "auto",
    cache: str | Path | None = None,
    reporter: Reporter | None = None,
) -> Steered:
    """Edit the units of some concepts, and return the class distributions before and after.

    The cell's units must have labels (:func:`harness.steering.label_units`).

    Args:
        store: store with the cell and its labels.
        suite: suite with the cell's layer and images.
        cell: id of the cell, its first digits, or the name of a row with one cell.
        settings: concepts and factors.
        images: indices or names of evaluation images; default: all.
        keep: store the result, for the figure and the app; the store must be open for writing.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        cache: folder of baselines; default: ``cache/`` beside the store.
        reporter: receives the progress.

    Raises:
        UserError: if the cell is missing, has no labels or a virtual method, no unit matches a concept, or an image
            does not exist.
        StoreError: if the store cannot be read, or written with ``keep``.
    """
    reporter = reporter or Silent()
    # Before the network is loaded: it says what does not match.
    concept_units(store, str(named_cell(records_of(store.cells()), cell)["cell_id"]), settings)
    with numerics.threads():
        layers = stored_layers(
            suite,
            store,
            device=devices.best_device(device),
            cache=None if cache is None else Path(cache),
            cells=[cell],
            reporter=reporter,
        )
        layer = next(iter(layers))
        row = layer.cells[0]
        steered = SteeredCell(layer, row, store).steer(settings, images, reporter)
    if keep:
        keep_steered(store, steered)
    return steered


class SteeredCell:
    """Cell that is opened for steering: the network, the method and its labels are read once.

    Raises:
        UserError: if the method is virtual.
    """

    def __init__(self, layer: StoredLayer, row: dict[str, Any], store: Store) -> None:
        self.layer, self.row, self._store = layer, row, store
        self.method: Method = layer.method(row)
        require_editable(self.method)
        self.classes = head_classes(layer)

    def steer(
        self, settings: SteerSettings, images: Sequence[int | str] | None, reporter: Reporter | None = None
    ) -> Steered:
        """Edit the units, and compare the class distributions.

        Raises:
            UserError: as :func:`steer`.
        """
        reporter = reporter or Silent()
        if settings.kappa < 1 or (settings.nu is not None and settings.nu < 0) or settings.controls < 1:
            raise UserError(
                f"kappa = {settings.kappa}, nu = {settings.nu}, controls = {settings.controls}: give at least one unit "
                "per concept, a number of patches from 0 or all, and at least one draw."
            )
        units, matcher = concept_units(self._store, self.row["cell_id"], settings)
        amplified = [each.unit for each in units if each.concept in settings.amplify]
        suppressed = [each.unit for each in units if each.concept not in settings.amplify]
        edit = edit_of(amplified, suppressed, alpha=settings.alpha, gamma=settings.gamma, patches=settings.nu)
        passes = SteeredPasses(self.layer, self.method, self._indices(images))
        clean = passes.clean(reporter.progress)
        after, touched = passes.edited(edit, reporter.progress)
        controls = [
            passes.control(edit, touched.size, seed_of("control", settings.seed, draw), reporter.progress)
            for draw in range(settings.controls)
        ]
        before_p, after_p = (torch.softmax(each.logits.double(), 1) for each in (clean, after))
        control_p = torch.stack([torch.softmax(each.logits.double(), 1) for each in controls]).mean(0)
        kl = divergence(clean.logits, after.logits)
        control_kl = torch.stack([divergence(clean.logits, each.logits) for each in controls]).mean(0)
        records = self.layer.prepared.evaluation.records
        patches, side = self._patches(touched)
        results = [
            SteeredImage(
                image=int(image),
                name=records[int(image)].name,
                before=tuple(before_p[row].tolist()),
                after=tuple(after_p[row].tolist()),
                control=tuple(control_p[row].tolist()),
                divergence=float(kl[row]),
                control_divergence=float(control_kl[row]),
                touched=patches[row],
            )
            for row, image in enumerate(clean.image)
        ]
        return Steered(
            cell_id=self.row["cell_id"],
            method=self.row["label"],
            layer=self.layer.prepared.title,
            settings=settings,
            matcher=matcher,
            units=units,
            classes=self.classes,
            images=tuple(results),
            grid=side,
            n_uncontrolled=int(controls[0].missing.sum()),
        )

    def _indices(self, images: Sequence[int | str] | None) -> np.ndarray | None:
        """Return the chosen images in ascending order.

        Raises:
            UserError: if one does not exist.
        """
        if images is None:
            return None
        records = self.layer.prepared.evaluation.records
        numbers = {record.name: number for number, record in enumerate(records)}
        chosen = []
        for image in images:
            number = numbers.get(image, -1) if isinstance(image, str) else int(image)
            if isinstance(image, str) and number < 0:
                matching = [numbers[name] for name in numbers if image.casefold() in name.casefold()]
                if len(matching) != 1:
                    some = names_text([records[number].name for number in matching[:5]] or list(numbers)[:5])
                    raise UserError(f"{len(matching)} evaluation images match {image!r}: name one, such as {some}.")
                number = matching[0]
            if not 0 <= number < len(records):
                raise UserError(f"There is no evaluation image {image}: there are {len(records)}, numbered from 0.")
            chosen.append(number)
        if not chosen:
            raise UserError("No image is chosen: name one, or leave the choice out for all evaluation images.")
        return np.unique(np.asarray(chosen, dtype=np.int64))

    def _patches(self, touched: Touched) -> tuple[list[tuple[tuple[int, int], ...]], int]:
        """Return (grid position, number of edited units) of each image, and the side of the grid."""
        positions = self.layer.prepared.site.positions(touched.mask.shape[1])
        on_grid = (positions >= 0).nonzero()[:, 0]
        side = round(len(on_grid) ** 0.5)
        side = side if side * side == len(on_grid) else 0
        counts: Tensor = touched.mask.sum(2)[:, on_grid]
        grid_positions = positions[on_grid].tolist()
        return [
            tuple((grid_positions[number], int(row[number])) for number in row.nonzero()[:, 0].tolist())
            for row in counts
        ], side
