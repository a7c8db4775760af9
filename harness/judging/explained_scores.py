"""Scores of "explain, then detect": from the answers of each judge to the rows of the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from harness.judging.detection_questions import DrawnCell
from harness.stats import Detections, JudgedMean, mean_over_judges
from judges.concepts import DETECT, EXPLAIN
from judges.grids import RENDER_VERSION
from results import ScoreRecord, Store
from results.store.explanations import ExplanationRecord, record_explanations

METRIC = "autointerp"
#: Version of the definition of the score.
VERSION = 1
PROMPTS = f"{EXPLAIN.version}+{DETECT.version}"


class JudgedUnit(NamedTuple):
    """Answers of one judge about one unit."""

    unit: int
    concept: str | None
    """None: no valid name"""
    detections: Detections
    control: Detections
    """answers on the same images with the concept of ``control_unit``"""
    control_unit: int | None
    n_asked: int
    """number of images that the judge was asked about"""
    n_missing: int
    """number of these to which no reply came"""


class CellScores(NamedTuple):
    """Scores of one cell; None if a judge has scored no unit."""

    score: JudgedMean | None
    control: JudgedMean | None
    gap: JudgedMean | None
    """mean of score minus control over the units that have both"""


def cell_scores(drawn: DrawnCell, by_judge: Mapping[str, Sequence[JudgedUnit]]) -> CellScores:
    """Return the scores of a cell from what each judge answered about each of its drawn units."""
    clusters = np.array(
        [f"unit {unit.unit}" if unit.parent is None else f"neuron {unit.parent}" for unit in drawn.units], dtype=str
    )

    def table(value: Callable[[JudgedUnit], float | None]) -> np.ndarray:
        # None becomes NaN.
        rows = [[value(unit) for unit in units] for units in by_judge.values()]
        return np.array(rows, dtype=np.float64).reshape(len(by_judge), len(drawn.units))

    scores = table(lambda unit: unit.detections.balanced_accuracy)
    control = table(lambda unit: unit.control.balanced_accuracy)
    own_error = table(lambda unit: unit.detections.variance)
    control_error = table(lambda unit: unit.control.variance)
    return CellScores(
        mean_over_judges(scores, clusters, own_error),
        mean_over_judges(control, clusters, control_error),
        mean_over_judges(scores - control, clusters, own_error + control_error, low=-1.0),
    )


def record_cell(
    store: Store,
    cell_id: str,
    panel: str,
    by_judge: Mapping[str, Sequence[JudgedUnit]],
    drawn: DrawnCell,
    scores: CellScores,
    *,
    images: int,
    seed: int,
) -> None:
    """Write the concepts and scores of a cell, replacing those of the same judges, prompts and number of images.

    Raises:
        StoreError: the store cannot be written.
    """
    explanations = [
        ExplanationRecord(
            cell_id=cell_id,
            judge=judge,
            prompt_version=PROMPTS,
            images=images,
            unit=unit.unit,
            concept=unit.concept,
            **unit.detections._asdict(),
            balanced_accuracy=unit.detections.balanced_accuracy,
            control=unit.control.balanced_accuracy,
            control_unit=unit.control_unit,
        )
        for judge, units in by_judge.items()
        for unit in units
    ]
    details = {
        "seed": seed,
        "units_alive": drawn.n_alive,
        "units_usable": drawn.n_usable,
        "units_drawn": len(drawn.units),
        "units_with_silent_negatives": sum(unit.silent for unit in drawn.units),
        "by_judge": [_of_judge(judge, units, drawn) for judge, units in by_judge.items()],
    }
    # What must be equal for two scores to be ranked together.
    params = {"judges": list(by_judge), "prompts": PROMPTS, "images": images, "render": RENDER_VERSION}
    split = any(unit.parent is not None for unit in drawn.units)

    def record(suffix: str, mean: JudgedMean | None, direction: str, more: Mapping[str, Any] | None) -> ScoreRecord:
        return ScoreRecord(
            metric=f"{METRIC}{suffix}",
            version=VERSION,
            params=params,
            panel=panel,
            value=None if mean is None else mean.value,
            uncertainty=None if mean is None else mean.uncertainty,
            uncertainty_kind=None if mean is None else f"units{', clustered by parent' if split else ''}",
            n=None if mean is None else mean.n,
            unit="fraction",
            direction=direction,
            details=more,
        )

    interval = None if scores.gap is None else scores.gap.interval()
    records = [
        record("", scores.score, "higher", details),
        record("_control", scores.control, "none", None),
        record("_gap", scores.gap, "none", {"interval": list(interval)} if interval else None),
    ]
    record_explanations(
        store,
        cell_id,
        list(by_judge),
        PROMPTS,
        images,
        explanations,
        [score for score in records if score.value is not None],
        replaces=records,
    )


def _of_judge(judge: str, units: Sequence[JudgedUnit], drawn: DrawnCell) -> dict[str, Any]:
    """Return the scores of one judge alone, and what was left out."""
    alone = cell_scores(drawn, {judge: units})
    numbers = {
        name: None if mean is None else mean.value
        for name, mean in (("value", alone.score), ("control", alone.control), ("gap", alone.gap))
    }
    n_valid = sum(unit.detections.n_positive + unit.detections.n_negative for unit in units)
    return {
        "judge": judge,
        **numbers,
        "uncertainty": None if alone.score is None else alone.score.uncertainty,
        "n": 0 if alone.score is None else alone.score.n,
        "without_concept": sum(unit.concept is None for unit in units),
        "invalid_answers": sum(unit.n_asked - unit.n_missing for unit in units) - n_valid,
        "missing_replies": sum(unit.n_missing for unit in units),
    }
