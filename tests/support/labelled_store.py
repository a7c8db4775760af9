"""Concept labels for the units of a store that was made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pandas as pd

from results import ScoreRecord, Store
from results.store.labels import LabellingRecord, record_labels

LABELLED = datetime(2026, 2, 3, tzinfo=UTC)


def add_labels(
    store: Store,
    cell_id: str,
    labels: Mapping[int, Sequence[str]],
    *,
    scorer: str = "clip",
    labelling: str | None = None,
    p_values: Mapping[int, float] | None = None,
    days: int = 0,
    scores: Sequence[ScoreRecord] = (),
) -> None:
    """Label units by hand.

    Args:
        store: open for writing.
        cell_id: cell of the units.
        labels: unit -> its labels, the best first; label of rank r has the score 4 - r, the null is 1.5.
        scorer: name of the scorer.
        labelling: id; default: that of the scorer.
        p_values: unit -> p-value of its best label; default: 0.005.
        days: after which the labels were made.
        scores: of the cell.
    """
    rows = [
        (unit, rank, text, 4.0 - rank, 1.5, (p_values or {}).get(unit, 0.005) if rank == 1 else 0.5)
        for unit, texts in labels.items()
        for rank, text in enumerate(texts, start=1)
    ]
    record = LabellingRecord(
        cell_id=cell_id,
        labelling=labelling or f"{scorer} of {cell_id}",
        scorer=scorer,
        version=1,
        settings={"scorer": scorer},
        n_units=len(labels),
        n_images=20,
        labelled_at=LABELLED + timedelta(days=days),
    )
    frame = pd.DataFrame(rows, columns=["unit", "rank", "label", "score", "null_score", "p_value"])
    record_labels(store, record, frame, list(scores))
