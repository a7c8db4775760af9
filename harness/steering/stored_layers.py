"""Layers of a suite whose fitted methods are in a store, opened for labels and for steering."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import methods
from harness.activations.baseline import Baseline
from harness.activations.center_crops import CropFolder
from harness.activations.forward import Passes
from harness.cells.inputs import open_baseline
from harness.cells.named_cell import named_cell
from harness.cells.plan import PreparedTarget, prepare
from harness.cells.stored_cell import fit_file
from harness.datasets.base import ImageSet
from harness.errors import UserError
from harness.identity import digest
from harness.progress import Reporter, Silent
from harness.suites import Suite
from methods.base import Method
from methods.plugin_calls import calling
from results import Store
from results.boards.seeds import SUFFIX
from results.store.artifacts import artifact_file
from results.store.records import records_of


class StoredLayer(NamedTuple):
    """Layer with its images, the unmodified network's results, and the finished cells of a store on it."""

    suite: Suite
    """the part of the suite that has the layer"""
    prepared: PreparedTarget
    baseline: Baseline
    """on the evaluation split"""
    cells: tuple[dict[str, Any], ...]
    """rows of the table `cells`, in the order in which they were computed"""
    store: Store
    cache: Path

    def method(self, cell: dict[str, Any]) -> Method:
        """Load the fitted method of one of the cells, on the device of the network.

        Raises:
            UserError: if the file is missing, damaged, or of another method or settings.
        """
        file = fit_file(self.store, cell)
        with calling(methods.METHODS, cell["method"]):
            return methods.load(file).to(self.prepared.backbone.device)

    def probing_passes(self) -> Passes:
        """Return passes over the probing split."""
        return self.passes_over(self.prepared.probing)

    def passes_over(self, images: ImageSet) -> Passes:
        """Return passes of the network over other images."""
        size = self.suite.evaluation.batch_size
        network = self.baseline.head.features
        return Passes(
            self.prepared.backbone, self.prepared.site, images, size, network, crops=CropFolder.of(self.cache)
        )


def stored_layers(
    suite: Suite,
    store: Store,
    *,
    device: str,
    cache: Path | None = None,
    cells: Sequence[str] = (),
    methods_only: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> Iterator[StoredLayer]:
    """Yield the layers of a suite that have finished cells in a store.

    A cell belongs to a layer if backbone, site, evaluation images, preprocessing and head are those of the suite; the
    suite need not list its method. Cells of sweeps are left out, unless ``cells`` names them.

    Args:
        suite: the suite, with or without parts.
        store: the store.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        cache: folder of token sets and baselines; default: ``cache/`` beside the store.
        cells: ids of cells, their first digits, or names of rows with one cell; default: all.
        methods_only: names of methods; default: all.
        reporter: receives the progress.

    Raises:
        UserError: if a cell is not in the store or not finished, or no finished cell of the suite's layers is.
    """
    reporter = reporter or Silent()
    folder = store.path.parent
    rows = _chosen(store, cells, methods_only)
    taken: set[str] = set()
    for leaf in suite.leaves:
        for prepared in _prepared_targets(leaf, rows, device):
            fingerprint = digest(prepared.evaluation_identity())
            mine = tuple(
                row
                for row in rows
                if row["cell_id"] not in taken
                and (row["site"], row["evaluation_fingerprint"]) == (prepared.site.path, fingerprint)
            )
            if not mine:
                continue
            taken |= {row["cell_id"] for row in mine}
            target_cache = folder / "cache" if cache is None else cache
            baseline = open_baseline(leaf, prepared, target_cache, progress=reporter.progress)
            yield StoredLayer(leaf, prepared, baseline, mine, store, target_cache)
    if not taken or (cells and len(taken) < len(rows)):
        missing = next((row for row in rows if row["cell_id"] not in taken), None)
        which = "No finished cell" if missing is None or not cells else f"The cell {missing['cell_id']} is not"
        raise UserError(
            f"{which}{'' if missing is not None and cells else f' of {store.path.name} is'} on a layer of the suite "
            f"{suite.name!r} with its evaluation images: run `harness run --suite {suite.name}` first, or give "
            "--dataset, --scale and --set the values of that run."
        )


def _prepared_targets(leaf: Suite, rows: Sequence[dict[str, Any]], device: str) -> list[PreparedTarget]:
    """Load the targets of a suite that may have one of the cells: a layer once, and no network that has none."""
    named = {row["backbone"] for row in rows}
    targets = [target for target in leaf.targets if target.backbone in named] or list(leaf.targets)
    unique = list({(target.backbone, target.site, target.head): target for target in targets}.values())
    return prepare(leaf.model_copy(update={"targets": tuple(unique)}), device=device)


def _chosen(store: Store, cells: Sequence[str], methods_only: Sequence[str]) -> list[dict[str, Any]]:
    """Return the finished cells with a fit.

    Raises:
        UserError: if one that is asked for is missing, not finished, or not the only one.
    """
    rows = records_of(store.cells().sort_values(["started_at", "cell_id"], kind="stable"))
    names = {row["method"] for row in rows}
    if wrong := sorted(set(methods_only) - names):
        raise UserError(f"{store.path.name} has no cell of the method {wrong[0]!r}; it has {', '.join(sorted(names))}.")
    usable = [row for row in rows if _is_usable(store, row)]
    if cells and methods_only:
        raise UserError("Choose cells or methods, not both.")
    if not cells:
        return [
            row
            for row in usable
            if (not methods_only or row["method"] in methods_only) and not str(row["suite"] or "").endswith(SUFFIX)
        ]
    return [_ready(named_cell(rows, cell), store) for cell in dict.fromkeys(cells)]


def _is_usable(store: Store, row: Mapping[str, Any]) -> bool:
    file = artifact_file(store.path.parent, row["artifact"]) if row["artifact"] else None
    return row["status"] == "finished" and file is not None and file.is_file()


def _ready(row: Mapping[str, Any], store: Store) -> dict[str, Any]:
    if not _is_usable(store, row):
        raise UserError(
            f"The cell {row['cell_id']} is not finished, or its fit is not beside {store.path.name}: run it again."
        )
    return dict(row)
