"""Label of a unit: the commonest class of its top images, and how many of them have it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import streamlit as st

from results.app import data
from results.app.queries import records
from results.app.titles import visible
from results.store import Store
from results.store.class_labels import labelled


def labels_of(store: Store, cell_id: str, units: Iterable[Mapping[str, Any] | None]) -> dict[int, str]:
    """Return unit -> label such as "zebra (7 of 9 images)", cached until the store changes.

    Units without classes are left out.

    Raises:
        StoreError: the store cannot be read.
    """
    numbers = tuple(sorted({int(unit["unit"]) for unit in units if unit}))
    return _labels(data.stamp(), cell_id, numbers, store) if numbers else {}


def label_text(row: Mapping[str, Any]) -> str | None:
    """Return the label of a row of `labelled`; None without a class."""
    if row["class_name"] is None:
        return None
    return f"{visible(row['class_name'])} ({row['n']} of {row['n_active']} images)"


@st.cache_data(max_entries=256, show_spinner=False)
def _labels(stamp: tuple[str, int, int], cell_id: str, units: tuple[int, ...], _store: Store) -> dict[int, str]:
    rows = records(labelled(_store, cell_id, units))
    return {row["unit"]: text for row in rows if (text := label_text(row)) is not None}
