"""Steering scores of the cells of a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness import devices
from harness.errors import UserError
from harness.progress import Reporter, Silent
from harness.steering.steering_score import (
    ClassEffect,
    ScoreSettings,
    class_effects,
    class_targets,
    require_settings,
    score_records,
)
from harness.steering.stored_layers import stored_layers
from harness.suites import Suite
from methods import numerics
from results import ScoreRecord, Store
from results.store.labels import record_cell_scores


class SteeringScore(NamedTuple):
    """Steering score of one cell."""

    cell_id: str
    label: str
    """display name of the method"""
    layer: str
    token_seed: int
    scores: tuple[ScoreRecord, ...]
    """empty if the method cannot be steered"""
    effects: tuple[ClassEffect, ...]
    problem: str = ""
    """reason why it has no score"""


def score_steering(
    store: Store,
    suite: Suite,
    settings: ScoreSettings | None = None,
    *,
    cells: Sequence[str] = (),
    methods: Sequence[str] = (),
    random_units: bool = False,
    device: str = "auto",
    cache: str | Path | None = None,
    reporter: Reporter | None = None,
) -> list[SteeringScore]:
    """Measure and store the score ``steering_effect`` of stored cells.

    Args:
        store: store with the cells, open for writing.
        suite: suite whose layers and images are used.
        settings: units per class, factors and patches.
        cells: ids of cells, or names of rows with one cell; default: all finished cells on these layers.
        methods: names of methods; default: all.
        random_units: steer random units in place of those of each class, to check that the score is 0; nothing is
            stored.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        cache: folder of token sets and baselines; default: ``cache/`` beside the store.
        reporter: receives the progress.

    Raises:
        UserError: if a setting is invalid, a layer has too few classes, or no cell is there.
        StoreError: if the store cannot be written.
    """
    reporter, settings = reporter or Silent(), settings or ScoreSettings()
    require_settings(settings)
    scored = []
    with numerics.threads():
        for layer in stored_layers(
            suite,
            store,
            device=devices.best_device(device),
            cache=None if cache is None else Path(cache),
            cells=cells,
            methods_only=methods,
            reporter=reporter,
        ):
            targets = class_targets(layer, settings, reporter.progress)
            for number, row in enumerate(layer.cells):
                reporter.progress(number, len(layer.cells), f"steering scores at {layer.prepared.title}")
                title = (row["cell_id"], row["label"], layer.prepared.title, row["token_seed"])
                try:
                    method = layer.method(row)
                    effects = class_effects(
                        layer, method, targets, settings, random_units=random_units, progress=reporter.progress
                    )
                except UserError as error:
                    # The other cells are measured all the same.
                    scored.append(SteeringScore(*title, (), (), str(error)))
                    continue
                records = score_records(effects, settings)
                if not random_units:
                    record_cell_scores(store, row["cell_id"], records)
                scored.append(SteeringScore(*title, tuple(records), tuple(effects)))
    return scored
