"""Checks of the concept labels of units."""

from __future__ import annotations

from results.store.records import records_of
from results.verify.base import Checker, Content, check


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
        "count(*) FILTER (NOT (u.p_value BETWEEN 0 AND 1)) AS wrong_p, "
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
        )
        for n, why in problems:
            checker.require_of(row["cell_id"], not n, f"{n} {why}", f"labels {row['labelling']}")
        stated = row["n_stated"]
        same = stated is None or stated == row["n_units"]
        why = f"are of {row['n_units']} units, and the labelling states {stated}."
        checker.require_of(row["cell_id"], same, why, f"labels {row['labelling']}")
