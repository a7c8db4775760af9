"""Scores of a cell that follow from the labels of its units."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from results import ScoreRecord, Store
from results.store.labels import LEVEL, record_cell_scores, unit_labels

#: Version of the definitions below.
VERSION = 1
#: Fewest units that two scorers must both label above the null for an agreement.
FEWEST_UNITS = 10


def label_scores(labels: pd.DataFrame, settings: Mapping[str, Any], *, n_units: int) -> tuple[ScoreRecord, ...]:
    """Return the share of labelled units and the number of distinct labels.

    - ``labelled_share``: share of the units with a label whose best label has a p-value of at most 0.05 against
      permuted images. By chance it is 0.05. Its standard error is that of a share of units.
    - ``distinct_labels``: number of different best labels of these units.

    The share is not ranked if the scorer's network is the one that is labelled.

    Args:
        labels: rows of the table ``unit_labels``; only those of rank 1 count.
        settings: of the labelling; scores of other settings are not ranked together.
        n_units: number of units of the method, with those that are silent on the images.
    """
    best = labels[labels["rank"] == 1]
    n = len(best)
    above = best[best["p_value"] <= LEVEL]
    share = len(above) / n if n else math.nan
    error = math.sqrt(share * (1 - share) / n) if n else None
    params = params_of(settings)
    details = {"chance": LEVEL, "n_units": n_units}
    return (
        ScoreRecord(
            metric="labelled_share",
            version=VERSION,
            params=params,
            value=share,
            uncertainty=error,
            uncertainty_kind="units" if n else None,
            n=n,
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
            details={"n_units": n_units},
        ),
    )


def params_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a labelling without the identity of its images, which is that of the cell's split."""
    return {key: value for key, value in settings.items() if key != "images"}


def label_agreement(first: pd.DataFrame, second: pd.DataFrame) -> tuple[float, int]:
    """Return the agreement of the best labels of two scorers, and the number of units that both label above the null.

    It is the adjusted mutual information of the two labellings of these units (Vinh, Epps and Bailey, 2010): 1 if each
    label of one corresponds to a label of the other, 0 for labels at random. The scorers may use other concepts. NaN
    for fewer than :data:`FEWEST_UNITS` units.
    """
    from sklearn.metrics import adjusted_mutual_info_score

    both = [
        frame[(frame["rank"] == 1) & (frame["p_value"] <= LEVEL)].set_index("unit")["label"]
        for frame in (first, second)
    ]
    units = both[0].index.intersection(both[1].index)
    if len(units) < FEWEST_UNITS:
        return math.nan, len(units)
    return float(adjusted_mutual_info_score(both[0][units], both[1][units])), len(units)


def record_agreement(store: Store, cell_id: str, labelling: Sequence[str]) -> None:
    """Store the agreement of each pair of labellings of a cell as its score ``label_agreement``.

    Raises:
        StoreError: if the store cannot be written.
    """
    frames = {name: unit_labels(store, cell_id, name, most=1) for name in labelling}
    scores = []
    for pair in itertools.combinations(sorted(frames), 2):
        value, n = label_agreement(*(frames[name] for name in pair))
        scorers = [str(frames[name]["scorer"].iloc[0]) if len(frames[name]) else "" for name in pair]
        if math.isnan(value):
            continue
        scores.append(
            ScoreRecord(
                metric="label_agreement",
                version=VERSION,
                params={"labellings": list(pair), "scorers": scorers},
                value=value,
                n=n,
                unit="",
                direction="higher",
            )
        )
    if scores:
        record_cell_scores(store, cell_id, scores)
