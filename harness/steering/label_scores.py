"""Scores of a cell that follow from the labels of its units."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from harness.identity import digest
from results import ScoreRecord, Store
from results.store.labels import LEVEL, labellings, record_cell_scores, unit_labels
from results.store.records import records_of

#: Version of the definitions below.
VERSION = 1
#: Fewest units that two scorers must both label above the null for an agreement.
FEWEST_UNITS = 10


def n_above(labels: pd.DataFrame) -> int:
    """Return the number of units whose best label has a p-value of at most 0.05 against permuted images."""
    return int(((labels["rank"] == 1) & (labels["p_value"] <= LEVEL)).sum())


def label_scores(
    labels: pd.DataFrame, settings: Mapping[str, Any], *, n_units: int, chance_shares: Sequence[float] = ()
) -> tuple[ScoreRecord, ...]:
    """Return the share of labelled units and the number of distinct labels.

    - ``labelled_share``: share of all units, silent ones included, whose best label is above the null
      (:func:`n_above`). Units depend on one another, so the share by chance and its standard deviation are those of
      tables whose images were permuted for all units together; the latter is the uncertainty. It is not ranked if the
      scorer's network is the one that is labelled.
    - ``distinct_labels``: number of different best labels of these units.

    Args:
        labels: rows of the table ``unit_labels``; only those of rank 1 count.
        settings: of the labelling; scores of other settings are not ranked together.
        n_units: number of units of the method, with those that are silent on the images.
        chance_shares: share of each permuted table.
    """
    best = labels[labels["rank"] == 1]
    above = best[best["p_value"] <= LEVEL]
    share = len(above) / n_units if n_units else math.nan
    params = params_of(settings)
    details: dict[str, Any] = {"n_labelled": len(best), "labelling": digest(dict(settings))}
    if chance_shares:
        details["chance"] = float(np.mean(chance_shares))
    error = float(np.std(chance_shares, ddof=1)) if len(chance_shares) > 1 else None
    return (
        ScoreRecord(
            metric="labelled_share",
            version=VERSION,
            params=params,
            value=share,
            uncertainty=error,
            uncertainty_kind="permuted images" if error is not None else None,
            n=n_units,
            unit="fraction",
            # A network finds its own classes in its units: that ranks nothing.
            direction="none" if settings.get("own_network") else "higher",
            details=details,
        ),
        ScoreRecord(
            metric="distinct_labels",
            version=VERSION,
            params=params,
            value=float(above["label"].nunique()),
            n=len(above),
            unit="labels",
            direction="none",
            details={"labelling": details["labelling"]},
        ),
    )


def params_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scorer and a digest of what its labels depend on beside the images, which are those of the board."""
    # The same network under another name is the same: its weights are among the settings.
    rest = {key: value for key, value in settings.items() if key not in ("images", "model", "backbone")}
    return {"scorer": settings.get("scorer"), "settings": digest(rest)[:8]}


def label_agreement(first: pd.DataFrame, second: pd.DataFrame) -> tuple[float, int]:
    """Return the agreement of the best labels of two scorers, and the number of units that both label above the null.

    It is the adjusted mutual information of the two labellings of these units (Vinh, Epps and Bailey, 2010): 1 if each
    label of one corresponds to a label of the other, 0 for labels at random. The scorers may use other concepts. NaN
    for fewer than :data:`FEWEST_UNITS` units, and if a scorer gives all of them one label, or each another one.
    """
    from sklearn.metrics import adjusted_mutual_info_score

    both = [
        frame[(frame["rank"] == 1) & (frame["p_value"] <= LEVEL)].set_index("unit")["label"]
        for frame in (first, second)
    ]
    units = both[0].index.intersection(both[1].index)
    distinct = [both[number][units].nunique() for number in range(2)]
    if len(units) < FEWEST_UNITS or min(distinct) < 2 or max(distinct) == len(units):
        return math.nan, len(units)
    return float(adjusted_mutual_info_score(both[0][units], both[1][units])), len(units)


def record_agreement(store: Store, cell_id: str) -> None:
    """Store the agreement of each pair of scorers, by the newest labels of each, as the score ``label_agreement``.

    Raises:
        StoreError: if the store cannot be written.
    """
    newest: dict[str, Mapping[str, Any]] = {}
    for row in records_of(labellings(store, [cell_id])):
        newest.setdefault(row["scorer"], row)
    frames = {name: unit_labels(store, cell_id, newest[name]["labelling"], most=1) for name in sorted(newest)}
    scores = []
    for first, second in itertools.combinations(frames, 2):
        value, n = label_agreement(frames[first], frames[second])
        if math.isnan(value):
            continue
        settings = [params_of(newest[name]["settings"])["settings"] for name in (first, second)]
        scores.append(
            ScoreRecord(
                metric="label_agreement",
                version=VERSION,
                params={"scorers": [first, second], "settings": settings},
                value=value,
                n=n,
                unit="",
                direction="none",
            )
        )
    if scores:
        record_cell_scores(store, cell_id, scores)
