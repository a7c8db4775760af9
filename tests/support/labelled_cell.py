"""Labels and a steering score of a cell that are right."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd

from results import ScoreRecord, Store
from results.store.labels import LabellingRecord, record_labels


def name_units(store: Store, cell_id: str, units: tuple[int, int]) -> None:
    """Record labels of two units, one above its null, and a score of two classes."""
    frame = pd.DataFrame(
        {
            "unit": units,
            "rank": 1,
            "label": ["dog", "cat"],
            "score": [3.0, 2.0],
            "null_score": 2.5,
            "p_value": [0.01, 0.2],
        }
    )
    record = LabellingRecord(
        cell_id=cell_id,
        labelling="L",
        scorer="clip",
        version=1,
        settings={},
        n_units=2,
        n_images=9,
        labelled_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    details = {"labelling": "L"}
    classes = [{"name": "dog", "score": 1.0}, {"name": "cat", "score": 2.0}]
    scores = [
        ScoreRecord(metric="labelled_share", value=0.25, n=4, unit="fraction", details=details),
        ScoreRecord(metric="distinct_labels", value=1.0, n=1, unit="labels", direction="none", details=details),
        ScoreRecord(metric="steering_effect", value=1.5, n=2, unit="nats", details={"by_class": classes}),
    ]
    record_labels(store, record, frame, scores)
