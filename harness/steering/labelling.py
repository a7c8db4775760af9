"""Concept labels of the units of stored cells, and the scores that follow from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from harness import devices
from harness.errors import UserError
from harness.identity import digest
from harness.progress import Reporter, Silent
from harness.steering.label_scores import label_scores, record_agreement
from harness.steering.scorers import SCORERS
from harness.steering.scorers.base import Images, Scored, Scorer
from harness.steering.stored_layers import StoredLayer, stored_layers
from harness.steering.unit_activations import SPLITS, UnitActivations, unit_activations
from harness.suites import Suite
from methods import numerics
from methods.plugin_calls import calling
from results import ScoreRecord, Store
from results.store.labels import LEVEL, LabellingRecord, labellings, record_labels, unit_labels
from results.store.records import records_of

#: Best labels that are stored per unit.
RANKS = 5
#: Quantile of the null above which a unit counts as labelled.
NULL_QUANTILE = 0.95


class LabelledCell(NamedTuple):
    """Labels of one cell by one scorer."""

    cell_id: str
    label: str
    """display name of the method"""
    layer: str
    token_seed: int
    scorer: str
    labelling: str
    n_units: int
    """units with a label"""
    kept: bool
    """True if the store had them already"""
    scores: tuple[ScoreRecord, ...]


def label_units(
    store: Store,
    suite: Suite,
    *,
    scorers: Sequence[str] = ("classifier",),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    split: str = "evaluation",
    cells: Sequence[str] = (),
    methods: Sequence[str] = (),
    anew: bool = False,
    device: str = "auto",
    cache: str | Path | None = None,
    reporter: Reporter | None = None,
) -> list[LabelledCell]:
    """Name the units of stored cells by concepts, and store labels and scores. Labels that are there are kept.

    Args:
        store: store with the cells, opened for writing; receives labels and scores.
        suite: suite whose layers and images are used (``harness.load_suite``).
        scorers: names of scorers (``harness list scorers``).
        settings: settings by name of the scorer.
        split: images on which units are labelled: ``"evaluation"`` or ``"probing"``.
        cells: ids of cells, or names of rows with one cell; default: all finished cells on these layers.
        methods: names of methods; default: all.
        anew: compute labels again that are stored.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        cache: folder of token sets and baselines; default: ``cache/`` beside the store.
        reporter: receives the progress.

    Returns:
        One entry per cell and scorer, in the order of the layers.

    Raises:
        UserError: if a name or setting is unknown, a scorer cannot be used with the images, or no cell is there.
        StoreError: if the store cannot be written.
    """
    reporter = reporter or Silent()
    if split not in SPLITS:
        raise UserError(f"split = {split!r}: choose {' or '.join(map(repr, SPLITS))}.")
    chosen = [_scorer(name, (settings or {}).get(name, {})) for name in dict.fromkeys(scorers)]
    if unused := sorted(set(settings or {}) - {scorer.name for scorer in chosen}):
        raise UserError(f"There are settings of the scorer {unused[0]!r}, which is not among the scorers: add it.")
    if not chosen:
        raise UserError("No scorer is given: choose one of `harness list scorers`.")
    labelled: list[LabelledCell] = []
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
            labelled += _label_layer(store, layer, chosen, split, anew, reporter)
    return labelled


def _scorer(name: str, settings: Mapping[str, Any]) -> Scorer:
    cls = SCORERS.get(name)
    with calling(SCORERS, name):
        return cls(settings)


def _label_layer(
    store: Store, layer: StoredLayer, scorers: Sequence[Scorer], split: str, anew: bool, reporter: Reporter
) -> list[LabelledCell]:
    prepared = layer.prepared
    images = prepared.evaluation if split == "evaluation" else prepared.probing
    identities = {}
    for scorer in scorers:
        with calling(SCORERS, scorer.name):
            # Before anything is encoded: it says what does not fit.
            identities[scorer.name] = {
                "scorer": scorer.name,
                "version": scorer.version,
                **scorer.identity(images),
                "images": images.fingerprint,
                "split": split,
            }
        if identities[scorer.name].get("weights") == prepared.backbone.fingerprint():
            identities[scorer.name]["own_network"] = True
            reporter.say_once(
                f"The scorer {scorer.name} names units of {prepared.title} with the same network: the labels repeat "
                "what it predicts, and their share above the null says little. Another scorer is independent of it."
            )
    labelled = []
    for number, cell in enumerate(layer.cells):
        reporter.progress(number, len(layer.cells), f"cells labelled at {prepared.title}")
        stored = labellings(store, [cell["cell_id"]])
        of_cell: list[LabelledCell] = []
        activations: UnitActivations | None = None
        for scorer in scorers:
            identity = identities[scorer.name]
            name = digest(identity)
            kept = not anew and name in set(stored["labelling"])
            if not kept:
                if activations is None:
                    activations = unit_activations(layer.method(cell), layer, split, progress=reporter.progress)
                with calling(SCORERS, scorer.name):
                    given = Images(images, activations.image, str(prepared.backbone.device), layer.cache)
                    scored = scorer.score(activations.values, given, progress=reporter.progress)
                    _require_scores(scorer, scored, activations.values.shape[1])
                _record(store, cell, scorer, identity, scored, len(activations.image))
            of_cell.append(_labelled(store, cell, prepared.title, scorer, name, kept))
        record_agreement(store, cell["cell_id"], [each.labelling for each in of_cell])
        labelled += of_cell
    return labelled


def _require_scores(scorer: Scorer, scored: Scored, n_units: int) -> None:
    """Raise UserError unless a scorer returned one score per unit and concept, and a null per unit."""
    expected = (n_units, len(scored.concepts))
    if tuple(scored.scores.shape) != expected or scored.null.ndim != 2 or scored.null.shape[1] != n_units:
        raise UserError(
            f"The scorer {scorer.name} returns scores {tuple(scored.scores.shape)} and a null "
            f"{tuple(scored.null.shape)} for {n_units} units and {len(scored.concepts)} concepts: scores must be "
            f"{expected} and the null (draws, {n_units})."
        )


def _record(
    store: Store, cell: Mapping[str, Any], scorer: Scorer, identity: Mapping[str, Any], scored: Scored, n_images: int
) -> None:
    labels = labels_frame(scored)
    record = LabellingRecord(
        cell_id=cell["cell_id"],
        labelling=digest(dict(identity)),
        scorer=scorer.name,
        version=scorer.version,
        settings=dict(identity),
        n_units=int(labels["unit"].nunique()),
        n_images=n_images,
        labelled_at=datetime.now(UTC),
    )
    record_labels(store, record, labels, label_scores(labels, identity, n_units=scored.scores.shape[0]))


def labels_frame(scored: Scored) -> pd.DataFrame:
    """Return one row per unit and rank with the columns of :data:`results.store.labels.COLUMNS`, best labels first.

    Of equal scores, that of the earlier concept comes first. Units without a finite score have no row.
    """
    scores = scored.scores.double().masked_fill(~torch.isfinite(scored.scores), -math.inf)
    best, concept = scores.sort(dim=1, descending=True, stable=True)
    best, concept = best[:, :RANKS], concept[:, :RANKS]
    null = scored.null.double()
    quantile = torch.nanquantile(null, NULL_QUANTILE, dim=0)
    n_draws = (~null.isnan()).sum(0)
    p_value = torch.stack([((null >= best[:, rank]).sum(0) + 1) / (n_draws + 1) for rank in range(best.shape[1])], 1)
    unit, rank = torch.isfinite(best).nonzero(as_tuple=True)
    known = n_draws[unit] > 0
    return pd.DataFrame(
        {
            "unit": unit.numpy().astype(np.int32),
            "rank": (rank + 1).numpy().astype(np.int32),
            "label": [scored.concepts[number] for number in concept[unit, rank].tolist()],
            "score": best[unit, rank].numpy(),
            "null_score": quantile[unit].numpy(),
            "p_value": torch.where(known, p_value[unit, rank], math.nan).numpy(),
        }
    )


def best_labelled(store: Store, cell_id: str, labelling: str, n: int) -> list[dict[str, Any]]:
    """Return the best labels of the n units with the highest scores among those above the null, then of the others.

    Raises:
        StoreError: if the store cannot be read.
    """
    labels = unit_labels(store, cell_id, labelling, most=1)
    order = labels.assign(above=labels["p_value"] <= LEVEL, excess=labels["score"] - labels["null_score"])
    chosen = order.sort_values(["above", "excess", "unit"], ascending=[False, False, True], kind="stable")
    return records_of(chosen.head(n).drop(columns=["above", "excess"]))


def _labelled(
    store: Store, cell: Mapping[str, Any], layer: str, scorer: Scorer, labelling: str, kept: bool
) -> LabelledCell:
    labels = unit_labels(store, cell["cell_id"], labelling, most=1)
    row = labellings(store, [cell["cell_id"]]).set_index("labelling").loc[labelling]
    scores = label_scores(labels, row["settings"], n_units=cell["n_units"])
    return LabelledCell(
        cell["cell_id"], cell["label"], layer, cell["token_seed"], scorer.name, labelling, len(labels), kept, scores
    )
