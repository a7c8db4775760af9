"""Choice of the units of a figure: the sub-units of one neuron, or the best units of a method without neurons."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from results.boards.board import LARGEST
from results.errors import StoreError
from results.store.class_labels import labelled
from results.store.explanations import explanations
from results.store.frames import records
from results.store.images import reference_cell
from results.store.labels import LEVEL, preferred_labelling, unit_labels
from results.visible_text import bounded, one_line

if TYPE_CHECKING:
    from results.store import Store

#: Panels of sub-units at most; of a neuron with more sub-units, those with the highest MS scores are drawn.
MOST_PANELS = 24
#: Images of the parent, and of each unit.
PARENT_IMAGES, UNIT_IMAGES = 16, 4
#: Units of a method without neurons if no number is asked for.
DEFAULT_UNITS = 8
#: Method whose units are the neurons themselves.
BACKBONE = "identity"
#: An MS score of fewer active images says little.
_GRID = 9

Cell = Mapping[str, Any]


class TopImage(NamedTuple):
    """Image on which a unit is active."""

    image: int
    """index in the evaluation set"""
    value: float
    position: int | None
    """of the maximum, row by row; below 0: CLS or a register; None: not recorded"""
    rank: int
    """among the unit's top images: that of its activation map"""


class ChosenUnit(NamedTuple):
    """Unit of a panel."""

    number: int
    parent: int | None
    ms_score: float | None
    """None: not measured; NaN: undefined"""
    images: tuple[TopImage, ...]
    """strongest first"""


class Choice(NamedTuple):
    """Units of a figure."""

    parent: int | None
    """neuron of the sub-units; None for a method without neurons"""
    parent_unit: ChosenUnit | None
    """the neuron in `parent_cell`, or the union of its sub-units' images without a score"""
    parent_cell: str | None
    """cell of the neurons; None if the store has none"""
    units: tuple[ChosenUnit, ...]
    n_units: int
    """sub-units of the neuron, drawn or not"""


def choose(store: Store, cell: Cell, *, parent: int | None, k: int | None) -> Choice:
    """Return the units of a figure of a cell.

    Args:
        store: the results.
        cell: row of ``Store.cells()``.
        parent: neuron whose sub-units are drawn.
        k: number of sub-units of the neuron, or of units of a method without neurons. With neither, the neuron is one
            that is split.

    Raises:
        StoreError: there is no such neuron, no neuron has `k` sub-units, or the cell has no units.
    """
    cell_id = cell["cell_id"]
    frame = store.query(
        "SELECT DISTINCT ON (unit) unit, parent, ms_score FROM units WHERE cell_id = ? ORDER BY ALL", [cell_id]
    )
    rows = records(frame)
    if not rows:
        raise StoreError(f"The cell {cell_id} has no units in this store: choose another one, or run it again.")
    families: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        if row["parent"] is not None:
            families.setdefault(int(row["parent"]), []).append(row)
    if not families or cell["method"] == BACKBONE:
        return _best(store, cell, parent, DEFAULT_UNITS if k is None else k)
    if parent is not None and k is not None:
        raise StoreError("parent and k exclude one another: k looks for a neuron with as many sub-units.")
    if parent is None:
        parent = _neuron(cell, families, k)
    elif parent not in families:
        numbers = sorted(families)
        raise StoreError(
            f"{_label(cell)} has no sub-unit of the neuron {parent}: it has some of {len(numbers)} neurons, "
            f"from {numbers[0]} to {numbers[-1]}."
        )
    members = sorted(families[parent], key=lambda row: (-_score(row["ms_score"]), row["unit"]))[:MOST_PANELS]
    units = _units(store, cell_id, sorted(int(row["unit"]) for row in members), UNIT_IMAGES)
    reference = reference_cell(store, cell_id)
    original = _units(store, reference, [parent], PARENT_IMAGES) if reference is not None else []
    if original and original[0].images:
        return Choice(parent, original[0], reference, tuple(units), len(families[parent]))
    of_parts = _units(store, cell_id, [unit.number for unit in units], PARENT_IMAGES)
    return Choice(parent, _union(parent, of_parts), None, tuple(units), len(families[parent]))


def labels_of(store: Store, cell_id: str, units: Sequence[int]) -> tuple[dict[int, str], str]:
    """Return unit -> label, and what the labels are in words.

    Labels are the concepts that a judge gave, of several that of the one with the highest balanced accuracy. If no
    unit has one, they are concept labels (`preferred_labelling`), where these are above chance. If there is none
    either, they are the commonest class among each unit's top images, with its number.
    """
    concepts: dict[int, tuple[float, str]] = {}
    for row in records(explanations(store, [cell_id], units)):
        score = _score(row["balanced_accuracy"])
        if row["concept"] and score > concepts.get(row["unit"], (-math.inf, ""))[0]:
            concepts[row["unit"]] = score, row["concept"]
        elif row["concept"]:
            concepts.setdefault(row["unit"], (score, row["concept"]))
    if concepts:
        return {unit: concept for unit, (_, concept) in concepts.items()}, "concepts named by a judge"
    chosen = preferred_labelling(store, cell_id)
    if chosen is not None:
        frame = unit_labels(store, cell_id, str(chosen["labelling"]), units, most=1)
        above = {
            int(row["unit"]): str(row["label"])
            for row in records(frame)
            if row["p_value"] is not None and row["p_value"] <= LEVEL
        }
        if above:
            scorer = bounded(chosen["scorer"], 40)
            return above, f"concept labels by the scorer {scorer}, where p <= {LEVEL} against permuted images"
    classes = {
        int(row["unit"]): f"{row['class_name']} ({row['n']}/{row['n_active']})"
        for row in records(labelled(store, cell_id, units))
        if row["class_name"]
    }
    return classes, "the commonest class among the unit's top images, and how many of them have it" if classes else ""


def is_defined(value: float | None) -> bool:
    """Return whether a number was measured and is defined: a store may hold NaN, infinity or a number near it."""
    return value is not None and abs(value) <= LARGEST


def _neuron(cell: Cell, families: Mapping[int, Sequence[Mapping[str, Any]]], k: int | None) -> int:
    """Return the neuron with `k` sub-units, or any split one, whose sub-units have the highest mean MS score.

    Neurons whose sub-units all have a score come first; of equal ones, the lowest number.
    """
    sizes = Counter(len(members) for members in families.values())
    if k is None:
        candidates = [neuron for neuron, members in families.items() if len(members) > 1] or list(families)
    else:
        candidates = [neuron for neuron, members in families.items() if len(members) == k]
    if not candidates:
        present = ", ".join(
            f"{size} ({sizes[size]} {'neuron' if sizes[size] == 1 else 'neurons'})" for size in sorted(sizes)
        )
        raise StoreError(f"No neuron of {_label(cell)} has {k} sub-units; the numbers of sub-units are {present}.")

    def order(neuron: int) -> tuple[int, float, int]:
        scores = [score for row in families[neuron] if (score := _score(row["ms_score"])) > -math.inf]
        mean = math.fsum(scores) / len(scores) if scores else -math.inf
        return len(families[neuron]) - len(scores), -mean, neuron

    return min(candidates, key=order)


def _best(store: Store, cell: Cell, parent: int | None, k: int) -> Choice:
    """Return the units with the highest MS scores, those that are active on a grid of images first."""
    if parent is not None:
        raise StoreError(
            f"The units of {_label(cell)} are no parts of neurons: choose their number with k, not a parent."
        )
    if not 1 <= k <= MOST_PANELS:
        raise StoreError(f"k {k} is not a number of units that a figure can have; use 1 to {MOST_PANELS}.")
    frame = store.query(
        "SELECT unit, bool_or(coalesce(len(list_filter(top_value[:$2], lambda x: x > 0)) >= $2, false)) AS fills, "
        "max(ms_score) AS score FROM units "
        "WHERE cell_id = $1 AND alive AND isfinite(ms_score) GROUP BY unit "
        "ORDER BY fills DESC, score DESC, unit LIMIT $3",
        [cell["cell_id"], _GRID, k],
    )
    if frame.empty:
        raise StoreError(f"No unit of {_label(cell)} has an MS score: choose another cell.")
    numbers = [int(unit) for unit in frame["unit"]]
    chosen = {unit.number: unit for unit in _units(store, cell["cell_id"], numbers, UNIT_IMAGES)}
    return Choice(None, None, None, tuple(chosen[number] for number in numbers), len(numbers))


def _units(store: Store, cell_id: str, units: Sequence[int], n_images: int) -> list[ChosenUnit]:
    """Return units of a cell by number, with the images among their strongest `n_images` on which they are active."""
    frame = store.query(
        "SELECT DISTINCT ON (unit) unit, parent, ms_score, top_image[:$3] AS images, top_value[:$3] AS values, "
        "top_position[:$3] AS positions FROM units WHERE cell_id = $1 AND unit IN (SELECT unnest($2::INTEGER[])) "
        "ORDER BY ALL",
        [cell_id, [int(unit) for unit in units], n_images],
    )
    return [
        ChosenUnit(int(row["unit"]), row["parent"], row["ms_score"], tuple(_images(row)))
        for row in sorted(records(frame), key=lambda row: row["unit"])
    ]


def _images(row: Mapping[str, Any]) -> list[TopImage]:
    images, values, positions = (_listed(row[name]) for name in ("images", "values", "positions"))
    values = [math.nan if value is None else float(value) for value in values]
    values += [math.nan] * (len(images) - len(values))
    positions += [None] * (len(images) - len(positions))
    return [
        TopImage(int(image), value, None if position is None else int(position), rank)
        for rank, (image, value, position) in enumerate(zip(images, values, positions, strict=False))
        # A value that was not recorded is no reason to leave an image out.
        if image is not None and not value <= 0
    ]


def _union(parent: int, units: Sequence[ChosenUnit]) -> ChosenUnit:
    """Return the top images of all sub-units as those of their neuron, each once, by activation."""
    strongest: dict[int, TopImage] = {}
    everything = (top for unit in units for top in unit.images)
    for top in sorted(everything, key=lambda top: (-_score(top.value), top.image)):
        strongest.setdefault(top.image, top)
    return ChosenUnit(parent, None, None, tuple(strongest.values())[:PARENT_IMAGES])


def _listed(values: Any) -> list[Any]:
    """Return a list of the store, empty if there is none; an entry that is missing is None."""
    # DuckDB returns a list as an array, masked if an entry is NULL.
    return (
        [] if values is None else [None if value is np.ma.masked else value for value in np.ma.asarray(values).tolist()]
    )


def _score(value: Any) -> float:
    """Return a number of the store for comparison; one that is missing or undefined is below all others."""
    return float(value) if is_defined(value) else -math.inf


def _label(cell: Cell) -> str:
    return one_line(cell["label"])
