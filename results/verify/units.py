"""Checks of unit rows: complete and consistent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from results.store.records import records_of
from results.verify.base import TOLERANCE, Checker, Content, check

_VALID = "{0} IS NOT NULL AND NOT isnan({0})"
_UPPER = f"1 + {TOLERANCE}"

# Conditions that make a unit row invalid. Comparisons with missing values are false, so they hold for older stores too.
_WRONG: Mapping[str, str] = {
    "are alive and never fire": "alive AND fires = 0",
    "are dead and fire": "NOT alive AND fires > 0",
    "are dead and have an MS score": f"NOT alive AND {_VALID.format('ms_score')}",
    "have an MS score outside -1 to 1": f"{_VALID.format('ms_score')} AND abs(ms_score) > {_UPPER}",
    "have a chance level of the MS score outside -1 to 1": (
        f"{_VALID.format('ms_score_null')} AND abs(ms_score_null) > {_UPPER}"
    ),
    **{
        f"have a {title} outside 0 to 1": f"{_VALID.format(name)} AND ({name} < -{TOLERANCE} OR {name} > {_UPPER})"
        for name, title in (
            ("redundancy", "unit overlap"),
            ("class_purity", "class purity"),
            ("polysemanticity", "polysemanticity"),
            ("prefix_share", "share of images at CLS or register tokens"),
            ("class_purity_chance", "class purity at chance"),
        )
    },
    "have a maximum below their minimum": (
        f"{_VALID.format('max_activation')} AND {_VALID.format('min_activation')} AND max_activation < min_activation"
    ),
    "are alive with a maximum of 0 or less": f"alive AND {_VALID.format('max_activation')} AND max_activation <= 0",
    "have different numbers of images and values": (
        "len(top_image) <> len(top_value) OR len(top_image) <> len(top_position)"
    ),
    "have an image twice": "len(list_distinct(top_image)) <> len(top_image)",
    "have images that are not the strongest first": "top_value <> list_reverse_sort(top_value)",
    "have a strongest image that is not their maximum": (
        f"{_VALID.format('max_activation')} AND abs(top_value[1] - max_activation) > {TOLERANCE} * abs(max_activation)"
    ),
}


@check("units")
def units(content: Content, checker: Checker) -> None:
    """Check unit rows 0 to n_units - 1: each valid, and alive as alive_fraction implies."""
    wrong = ", ".join(f"count(*) FILTER ({sql}) AS wrong_{index}" for index, sql in enumerate(_WRONG.values()))
    frame = content.store.query(
        "SELECT cell_id, count(*) AS n, count(DISTINCT unit) AS distinct_units, min(unit) AS first, max(unit) AS last, "
        "count(*) FILTER (alive) AS alive, max(fires) AS most_fires, sum(fires) AS all_fires, "
        f"{wrong} FROM units GROUP BY cell_id"
    )
    rows = {row["cell_id"]: row for row in records_of(frame)}
    for cell in content.finished():
        unit_counts = rows.get(cell["cell_id"])
        if unit_counts is not None:
            _check_rows(content, checker, cell, unit_counts)
            continue
        # Every pass over the images leaves unit rows; a cell without any has lost them.
        scored = content.value(cell, "ms_score") is not None or content.value(cell, "alive_fraction") is not None
        reason = f"are missing: the cell has {cell['n_units']} units with scores, but no unit rows."
        checker.require_of(cell["cell_id"], not (scored and cell["n_units"]), reason, "units")


def _check_rows(content: Content, checker: Checker, cell: Mapping[str, Any], unit_counts: Mapping[str, Any]) -> None:
    cell_id, n, n_rows = cell["cell_id"], cell["n_units"], unit_counts["n"]
    if n is not None:
        stored = tuple(unit_counts[name] for name in ("n", "distinct_units", "first", "last"))
        reason = "are {} rows ({} different, {} to {}); ".format(*stored) + f"the cell has {n} units, 0 to {n - 1}."
        checker.require_of(cell_id, stored == (n, n, 0, n - 1), reason, "units")
    for index, words in enumerate(_WRONG):
        count = unit_counts[f"wrong_{index}"]
        checker.require_of(cell_id, not count, f"are invalid: {count} of {n_rows} {words}.", "units")
    alive = content.value(cell, "alive_fraction")
    if alive is not None and n_rows:
        share = unit_counts["alive"] / n_rows
        reason = f"is {alive:.6f}, and {unit_counts['alive']} of its {n_rows} unit rows are alive ({share:.6f})."
        checker.require_of(cell_id, abs(alive - share) < TOLERANCE, reason, "alive_fraction")
    for metric in ("ms_score", "ms_score_null", "class_purity", "polysemanticity"):
        score, undefined = content.score(cell, metric), content.score(cell, f"{metric}_undefined")
        if score is not None and undefined is not None and score["n"] is not None:
            expected = unit_counts["alive"] - score["n"]
            reason = f"is {undefined['value']}; {expected} of its {unit_counts['alive']} alive units have no value."
            checker.require_of(cell_id, undefined["value"] == expected, reason, undefined["metric"])
    l0 = content.score(cell, "l0")
    if l0 is not None and l0["n"] and unit_counts["most_fires"] is not None:
        reason = f"are invalid: one fires on {unit_counts['most_fires']} of {l0['n']} tokens."
        checker.require_of(cell_id, unit_counts["most_fires"] <= l0["n"], reason, "units")
        # A code above 0 is also a nonzero code.
        firing = float(unit_counts["all_fires"]) / l0["n"]
        if l0["value"] is not None and math.isfinite(l0["value"]):
            reason = f"is {l0['value']:g}, and {firing:g} units fire per token on average."
            checker.require_of(cell_id, firing <= l0["value"] * (1 + TOLERANCE) + TOLERANCE, reason, "l0")


@check("images")
def images(content: Content, checker: Checker) -> None:
    """Check that the images of units are images of their cell's evaluation set."""
    frame = content.store.query(
        "WITH used AS (SELECT cell_id, min(list_min(top_image)) AS least, max(list_max(top_image)) AS most FROM units "
        "WHERE len(top_image) > 0 GROUP BY cell_id), "
        'stored AS (SELECT dataset, count(*) AS n, min("index") AS first, max("index") AS last FROM images '
        "GROUP BY dataset) "
        "SELECT u.cell_id, u.least, u.most, s.n, s.first, s.last FROM used u JOIN cells c USING (cell_id) "
        "LEFT JOIN stored s ON s.dataset = c.evaluation_fingerprint ORDER BY u.cell_id"
    )
    for row in records_of(frame):
        if row["n"] is None:
            holds, reason = False, "refer to images of a set that is not in the store."
        elif row["least"] is None or row["most"] is None:
            holds, reason = False, "refer to no images, but to missing numbers."
        else:
            holds = row["first"] <= row["least"] and row["most"] <= row["last"]
            reason = f"refer to images {row['least']} to {row['most']}; the set has {row['first']} to {row['last']}."
        checker.require_of(row["cell_id"], holds, reason, "units")
