"""Concepts that judges gave to a unit, as sentences of its page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from results.app.panels import judge_names
from results.app.queries import records
from results.app.titles import visible
from results.store import Store
from results.store.explanations import explanations

MEANING = (
    "A judge named the concept from half of the unit's top images, and was then asked for it in single images: the "
    "other top images, and images outside of them. The score is the mean of the shares of right answers on both; 50 % "
    "is chance. The control asks about the same images with the concept of another unit."
)


def concept_sentences(store: Store, cell_id: str, unit: int) -> list[str]:
    """Return one sentence per judge that was asked for the concept of a unit, of each number of images.

    Raises:
        StoreError: the store cannot be read.
    """
    rows = records(explanations(store, [cell_id], [unit]))
    names = judge_names(row["judge"] for row in rows)
    return [concept_sentence(name, row) for name, row in zip(names, rows, strict=True)]


def concept_sentence(judge: str, row: Mapping[str, Any]) -> str:
    """Return what a judge calls a unit, and how well it found that in other images; the texts are the judge's own."""
    if not row["concept"]:
        return f"{visible(judge)} gave no valid name for its concept."
    named = f"{visible(judge)} calls it “{visible(row['concept'])}”"
    score, control = (_percent(row[name]) for name in ("balanced_accuracy", "control"))
    if score is None:
        return f"{named}; it gave too few valid answers about other images for a score."
    beside = "" if control is None else f"; {control} with the concept of unit {row['control_unit']}"
    return f"{named}, and finds that in other images with a balanced accuracy of {score} (chance 50 %{beside})."


def _percent(value: Any) -> str | None:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return f"{100 * value:.0f} %"
