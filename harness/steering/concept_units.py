"""Units of a stored cell that match the concepts of a steering, by their labels."""

from __future__ import annotations

from math import isnan, nan
from typing import NamedTuple

from harness.errors import UserError
from harness.steering.matchers import matcher_of
from harness.steering.matching import matching_units
from harness.steering.steered import SteeredUnit, SteerSettings
from results import Store
from results.store.labels import LEVEL, preferred_labelling, unit_labels
from results.visible_text import names_text


class MatchedUnits(NamedTuple):
    """Units of the concepts."""

    units: tuple[SteeredUnit, ...]
    """ascending"""
    matcher: str
    """id of the text matcher; empty without a concept"""


def concept_units(store: Store, cell_id: str, settings: SteerSettings) -> MatchedUnits:
    """Return the units of a cell whose labels match the concepts.

    Raises:
        UserError: if there are no labels, or a concept matches none.
    """
    concepts = [*settings.amplify, *settings.suppress]
    if not concepts:
        return MatchedUnits((), "")
    labels = unit_labels(store, cell_id, most=1)
    scorers = list(dict.fromkeys(labels["scorer"]))
    if settings.scorer is not None and settings.scorer not in scorers:
        raise UserError(
            f"The cell {cell_id} has no labels by {settings.scorer!r} (it has "
            f"{names_text(scorers) if scorers else 'none'}): run `harness label --scorer {settings.scorer}` first."
        )
    if not scorers:
        raise UserError(
            f"The units of the cell {cell_id} have no labels: run `harness label --cell {cell_id[:8]}` first."
        )
    chosen = labels[labels["scorer"] == (settings.scorer or _default_scorer(store, cell_id))]
    matcher = matcher_of(settings.matcher)
    if not settings.all_labels:
        # A label that random images would have got says nothing about the unit.
        above = chosen[~(chosen["p_value"] > LEVEL)]
        if len(chosen) and not len(above):
            raise UserError(
                f"No label of the cell {cell_id} is above its null (p <= {LEVEL}): label more images, or match all "
                "labels (--all-labels)."
            )
        chosen = above
    texts = [str(label) for label in chosen["label"]]
    p_values = chosen["p_value"].to_numpy(dtype=float, na_value=nan)
    distinct = list(dict.fromkeys(texts))
    similarity = matcher.similarity(concepts, distinct)
    column = {text: number for number, text in enumerate(distinct)}
    rows = similarity[:, [column[text] for text in texts]]
    threshold = matcher.threshold if settings.threshold is None else settings.threshold
    chosen_units: dict[int, SteeredUnit] = {}
    number_of = {int(unit): number for number, unit in enumerate(chosen["unit"])}
    for concept, of_labels in zip(reversed(concepts), rows[::-1], strict=True):
        # Suppressed concepts first: a unit of both sets is amplified, and of two concepts the better one is named.
        matched = matching_units(
            of_labels,
            chosen["unit"].to_numpy(),
            chosen["score"].to_numpy(),
            settings.kappa,
            threshold,
            concept=concept,
            labels=texts,
        )
        is_amplified = concept in settings.amplify
        for unit in matched.tolist():
            number = number_of[unit]
            candidate = SteeredUnit(
                unit,
                concept,
                texts[number],
                float(of_labels[number]),
                settings.alpha if is_amplified else settings.gamma,
                None if isnan(p_values[number]) else float(p_values[number]),
            )
            other = chosen_units.get(unit)
            if other is None or other.factor != candidate.factor or other.similarity <= candidate.similarity:
                chosen_units[unit] = candidate
    return MatchedUnits(tuple(chosen_units[unit] for unit in sorted(chosen_units)), matcher.id)


def _default_scorer(store: Store, cell_id: str) -> str:
    row = preferred_labelling(store, cell_id)
    return "" if row is None else str(row["scorer"])
