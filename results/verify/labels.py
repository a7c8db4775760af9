"""Checks of the concept labels of units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from results.store.labels import LEVEL
from results.store.records import records_of
from results.verify.base import TOLERANCE, Checker, Content, check
from results.visible_text import visible

#: Longest label.
MOST_CHARACTERS = 200


@check("labels")
def labels(content: Content, checker: Checker) -> None:
    """Check that labels are of units that exist and of a stored labelling, once per rank, with p-values from 0 to 1."""
    frame = content.store.query(
        "WITH known AS (SELECT DISTINCT cell_id, unit FROM units) "
        "SELECT u.cell_id, u.labelling, "
        "count(*) FILTER (k.unit IS NULL) AS without_unit, "
        "count(*) FILTER (l.labelling IS NULL) AS without_labelling, "
        "count(*) FILTER (u.rank < 1) AS wrong_rank, "
        "count(*) - count(DISTINCT (u.unit, u.rank)) AS twice, "
        "count(*) FILTER (u.p_value < 0 OR (u.p_value > 1 AND NOT isnan(u.p_value))) AS wrong_p, "
        "count(*) FILTER (u.score IS NULL OR NOT isfinite(u.score)) AS wrong_score, "
        f"count(*) FILTER (length(u.label) > {MOST_CHARACTERS}) AS too_long, "
        f"count(DISTINCT u.unit) FILTER (u.rank = 1 AND u.p_value <= {LEVEL}) AS n_above, "
        f"count(DISTINCT u.label) FILTER (u.rank = 1 AND u.p_value <= {LEVEL}) AS n_distinct, "
        "count(DISTINCT u.unit) AS n_units, any_value(l.n_units) AS n_stated "
        "FROM unit_labels u LEFT JOIN known k ON k.cell_id = u.cell_id AND k.unit = u.unit "
        "LEFT JOIN labellings l ON l.cell_id = u.cell_id AND l.labelling = u.labelling "
        "GROUP BY u.cell_id, u.labelling ORDER BY u.cell_id, u.labelling"
    )
    for row in records_of(frame):
        if row["cell_id"] not in content.names:
            continue  # named by the check of orphans
        problems = (
            (row["without_unit"], "are of units that do not exist."),
            (row["without_labelling"], "are of no stored labelling."),
            (row["wrong_rank"], "have a rank below 1."),
            (row["twice"], "share unit and rank with another one."),
            (row["wrong_p"], "have a p-value that is not from 0 to 1."),
            (row["wrong_score"], "have no finite score."),
            (row["too_long"], f"are longer than {MOST_CHARACTERS} characters."),
        )
        for n, why in problems:
            checker.require_of(row["cell_id"], not n, f"{n} {why}", f"labels {row['labelling']}")
        stated = row["n_stated"]
        same = stated is None or stated == row["n_units"]
        why = f"are of {row['n_units']} units, and the labelling states {stated}."
        checker.require_of(row["cell_id"], same, why, f"labels {row['labelling']}")
        _require_scores(content, checker, row)
    _require_texts(content, checker)


def _require_scores(content: Content, checker: Checker, row: Mapping[str, Any]) -> None:
    """Check the scores of a labelling against its rows."""
    scores = {
        score["metric"]: score
        for score in content.scores
        if score["cell_id"] == row["cell_id"]
        and score["metric"] in ("labelled_share", "distinct_labels")
        and (score["details"] or {}).get("labelling") == row["labelling"]
    }
    share, distinct = scores.get("labelled_share"), scores.get("distinct_labels")
    where = f"labels {row['labelling']}"
    if share is not None and share["value"] is not None and share["n"]:
        expected = row["n_above"] / share["n"]
        why = f"have labelled_share {share['value']:g}, and their rows give {expected:g}."
        checker.require_of(row["cell_id"], abs(share["value"] - expected) < TOLERANCE, why, where)
    if distinct is not None and distinct["value"] is not None:
        why = f"have distinct_labels {distinct['value']:g}, and their rows give {row['n_distinct']}."
        checker.require_of(row["cell_id"], abs(distinct["value"] - row["n_distinct"]) < TOLERANCE, why, where)


def _require_texts(content: Content, checker: Checker) -> None:
    """Check that labels can be shown."""
    frame = content.store.query("SELECT DISTINCT cell_id, left(label, 300) AS label FROM unit_labels ORDER BY 1, 2")
    for row in records_of(frame):
        if row["cell_id"] in content.names and visible(row["label"], keep="") != row["label"]:
            text = visible(row["label"][:60], keep="")
            checker.require_of(row["cell_id"], False, f"has control characters: {text}.", "a label")


@check("steering scores")
def steering_scores(content: Content, checker: Checker) -> None:
    """Check that the steering score is the mean of those of its classes."""
    for score in content.scores:
        if score["metric"] != "steering_effect" or score["value"] is None:
            continue
        classes = (score["details"] or {}).get("by_class")
        if not isinstance(classes, list) or not all(isinstance(each, dict) for each in classes):
            continue
        values = [each.get("score") for each in classes]
        numbers = [value for value in values if isinstance(value, (int, float)) and math.isfinite(value)]
        same_number = len(numbers) == len(values) == score["n"]
        expected = sum(numbers) / max(len(numbers), 1)
        is_right = same_number and abs(score["value"] - expected) < 1e-6 * max(1.0, abs(expected))
        why = f"is {score['value']:g}, and its {len(numbers)} classes give {expected:g}."
        checker.require_of(score["cell_id"], is_right, why, "steering_effect")
