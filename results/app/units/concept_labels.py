"""Concept labels of units (`harness label`): the best of each scorer, with its score and its null, as text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st

from results.app import data
from results.app.queries import Record, records
from results.app.titles import plain
from results.short_number import short_number
from results.store import Store
from results.store.labels import LEVEL, labellings, unit_labels
from results.visible_text import names_text, one_line

#: Labels per scorer on the page of a unit, and scorers that are shown: a store from anyone can have any number.
RANKS, MOST_SCORERS = 5, 6
MEANING = (
    "A scorer of `harness label` compares the unit's activation with many concepts. Null: the score that 95 % of the "
    "best concepts stay below when the images are permuted; p: share of permutations with at least this score."
)


class ConceptLabel(NamedTuple):
    """Label of a unit by one scorer."""

    scorer: str
    rank: int
    """1: the best label"""
    label: str
    score: float | None
    null_score: float | None
    p_value: float | None

    @property
    def is_above_null(self) -> bool:
        """True if the p-value is at most 0.05."""
        return self.p_value is not None and self.p_value <= LEVEL


def concept_labels(
    store: Store, cell_id: str, units: Iterable[Mapping[str, Any] | None], *, most: int = 1
) -> dict[int, list[ConceptLabel]]:
    """Return unit -> its labels by the newest labelling of each scorer, ordered by scorer and rank.

    Units without a label are left out. Cached until the store changes.

    Args:
        store: the store.
        cell_id: cell of the units.
        units: rows of the store; None is a missing unit.
        most: largest rank.

    Raises:
        StoreError: the store cannot be read.
    """
    numbers = tuple(sorted({int(unit["unit"]) for unit in units if unit}))
    return _labels(data.stamp(), cell_id, numbers, most, store) if numbers else {}


def scorers_of(store: Store, cell_id: str) -> list[str]:
    """Return the scorers that have labelled a cell, the newest first.

    Raises:
        StoreError: the store cannot be read.
    """
    return list(dict.fromkeys(str(name) for name in labellings(store, [cell_id])["scorer"]))


def label_line(label: ConceptLabel) -> str:
    """Return a label with its scorer, score and null in few characters, as Markdown; grey if it is at chance."""
    scorer, words = plain(_short(label.scorer)), plain(_short(label.label))
    if label.is_above_null:
        return f":small[{scorer}: **{words}** {plain(_numbers(label))}]"
    return f":small[:gray[{scorer}: {words} {plain(_numbers(label))}, not above the null]]"


def label_sentences(labels: Sequence[ConceptLabel]) -> list[str]:
    """Return one Markdown text per scorer: the best label of a unit with its score and null, and the next ones."""
    texts = []
    for scorer in dict.fromkeys(label.scorer for label in labels):
        best, *others = [label for label in labels if label.scorer == scorer]
        words = plain(_short(best.label))
        named = f"{plain(_short(scorer))} labels it **{words}**"
        if not best.is_above_null:
            named = f"{plain(_short(scorer))}: no label above the null. The best one is :gray-badge[{words}]"
        text = f"{named} {plain(_numbers(best))}."
        if others:
            further = " · ".join(f"{label.rank}. {_short(label.label)} {short_number(label.score)}" for label in others)
            text += f" :small[{plain(further)}]"
        texts.append(text)
    return texts


def label_command(cell: Record, store_path: Path) -> str:
    """Return the command that labels the units of a cell, to be shown between backticks."""
    suite = str(cell["suite"] or "")
    # A suite of a store from anyone could end the code and begin Markdown, or a command.
    suite = suite if re.fullmatch(r"[A-Za-z0-9][\w.-]{0,60}", suite, re.ASCII) else "demo"
    cell_id = cell["cell_id"] if re.fullmatch(r"[\w-]{1,64}", cell["cell_id"], re.ASCII) else "ID"
    return f"harness label --suite {suite} --cell {cell_id} --store {one_line(store_path.name).replace('`', '')}"


def _short(text: str) -> str:
    return names_text([text])


def _numbers(label: ConceptLabel) -> str:
    parts = [f"null {short_number(label.null_score)}"] if _is_number(label.null_score) else []
    if _is_number(label.p_value):
        parts.append(f"p {label.p_value:.2g}")
    return short_number(label.score) + (f" ({', '.join(parts)})" if parts else "")


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


@st.cache_data(max_entries=256, show_spinner=False)
def _labels(
    stamp: tuple[str, int, int], cell_id: str, units: tuple[int, ...], most: int, _store: Store
) -> dict[int, list[ConceptLabel]]:
    frame = unit_labels(_store, cell_id, units=units, most=most)
    # A store from anyone can have one label many times, or of rank 0.
    frame = frame[frame["rank"] >= 1].drop_duplicates(["scorer", "unit", "rank"])
    kept = set(list(dict.fromkeys(frame["scorer"]))[:MOST_SCORERS])
    labels: dict[int, list[ConceptLabel]] = {}
    for row in records(frame[frame["scorer"].isin(kept)]):
        label = ConceptLabel(**{name: row[name] for name in ConceptLabel._fields})
        labels.setdefault(int(row["unit"]), []).append(label)
    return labels
