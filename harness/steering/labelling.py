"""Concept labels of the units of stored cells, and the scores that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from harness import devices
from harness.datasets.base import ImageSet
from harness.errors import UserError, first_line
from harness.identity import digest, seed_of
from harness.progress import Reporter, Silent
from harness.steering.label_scores import label_scores, n_above, record_agreement
from harness.steering.label_table import labels_frame, require_scored
from harness.steering.scorers import SCORERS
from harness.steering.scorers.base import Images, Scorer
from harness.steering.stored_layers import StoredLayer, stored_layers
from harness.steering.unit_activations import SPLITS, UnitActivations, unit_activations
from harness.suites import Suite
from methods import numerics
from methods.plugin_calls import calling
from results import ScoreRecord, Store
from results.store.labels import LABEL_METRICS, LEVEL, LabellingRecord, labellings, record_labels, unit_labels
from results.store.records import records_of


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
    identities = {scorer.name: _identity(scorer, layer, images, split, reporter) for scorer in scorers}
    labelled = []
    for number, cell in enumerate(layer.cells):
        reporter.progress(number, len(layer.cells), f"cells labelled at {prepared.title}")
        stored = set(labellings(store, [cell["cell_id"]])["labelling"])
        activations: UnitActivations | None = None
        of_cell = []
        for scorer in scorers:
            identity = identities[scorer.name]
            name = digest(identity)
            is_kept = not anew and name in stored
            if not is_kept:
                if activations is None:
                    try:
                        activations = unit_activations(layer.method(cell), layer, split, progress=reporter.progress)
                    except UserError as error:
                        # The other cells are labelled all the same.
                        reporter.say(f"{cell['label']} ({cell['cell_id']}) was not labelled: {error}")
                        break
                given = Images(images, activations.image, str(prepared.backbone.device), layer.cache)
                _label(store, cell, scorer, identity, activations.values, given, reporter)
            of_cell.append(_labelled(store, cell, prepared.title, scorer, name, is_kept))
        record_agreement(store, cell["cell_id"])
        labelled += of_cell
    return labelled


def _identity(scorer: Scorer, layer: StoredLayer, images: ImageSet, split: str, reporter: Reporter) -> dict[str, Any]:
    """Return everything that labels depend on; before anything is encoded, since it says what does not fit."""
    with calling(SCORERS, scorer.name):
        of_scorer = scorer.identity(images)
        if not isinstance(of_scorer, dict):
            raise UserError(f"The scorer {scorer.name}.identity returns a {type(of_scorer).__name__}, not a dict.")
        try:
            digest(of_scorer)
        except (TypeError, ValueError, RecursionError) as error:
            raise UserError(
                f"The scorer {scorer.name}.identity returns what is no JSON ({first_line(error)}): use texts, finite "
                "numbers, lists and dicts."
            ) from error
    identity = {
        **of_scorer,
        "scorer": scorer.name,
        "version": scorer.version,
        "images": images.fingerprint,
        "split": split,
    }
    if of_scorer.get("weights") == layer.prepared.backbone.fingerprint():
        identity["own_network"] = True
        reporter.say_once(
            f"The scorer {scorer.name} names units of {layer.prepared.title} with the same network: the labels repeat "
            "what it predicts, and their share above the null says little. Another scorer is independent of it."
        )
    return identity


def _label(
    store: Store,
    cell: Mapping[str, Any],
    scorer: Scorer,
    identity: Mapping[str, Any],
    activations: Tensor,
    given: Images,
    reporter: Reporter,
) -> None:
    """Compute and store the labels of one cell by one scorer."""
    n_images, n_units = activations.shape

    def scored(values: Tensor) -> pd.DataFrame:
        with calling(SCORERS, scorer.name):
            # A copy: a scorer of a plugin may work in place.
            result = scorer.score(values.clone(), given, progress=reporter.progress)
            return labels_frame(require_scored(scorer, result, n_units))

    labels = scored(activations)
    shares = []
    for draw in range(scorer.settings.tables):
        generator = np.random.default_rng(seed_of("permuted table", scorer.settings.seed, draw))
        # All units together: they depend on one another, so chance is no binomial.
        permuted = scored(activations[torch.from_numpy(generator.permutation(n_images))])
        shares.append(n_above(permuted) / max(n_units, 1))
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
    scores = label_scores(labels, identity, n_units=n_units, chance_shares=shares)
    record_labels(store, record, labels, scores)


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
    store: Store, cell: Mapping[str, Any], layer: str, scorer: Scorer, labelling: str, is_kept: bool
) -> LabelledCell:
    labels = unit_labels(store, cell["cell_id"], labelling, most=1)
    scores = tuple(
        ScoreRecord(
            **{name: row[name] for name in ("metric", "value", "uncertainty", "unit", "direction", "details")},
            n=row["n"],
            version=int(row["version"]),
            params=row["params"],
        )
        for row in records_of(store.scores(cell_id=cell["cell_id"]))
        if row["metric"] in LABEL_METRICS and (row["details"] or {}).get("labelling") == labelling
    )
    return LabelledCell(
        cell["cell_id"], cell["label"], layer, cell["token_seed"], scorer.name, labelling, len(labels), is_kept, scores
    )
