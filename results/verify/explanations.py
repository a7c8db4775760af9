"""Checks of the concepts that judges gave to units."""

from __future__ import annotations

from results.store.records import records_of
from results.verify.base import TOLERANCE, Checker, Content, check

#: Fewest valid answers on either side of a balanced accuracy.
MIN_ANSWERS = 2


@check("explanations")
def explanations(content: Content, checker: Checker) -> None:
    """Check that balanced accuracies follow from the counted answers, and that their units exist."""
    frame = content.store.query(
        "WITH known AS (SELECT DISTINCT cell_id, unit FROM units) SELECT e.*, u.unit IS NULL AS without_unit, "
        "e.control_unit IS NOT NULL AND (c.unit IS NULL OR e.control_unit = e.unit) AS wrong_control "
        "FROM explanations e LEFT JOIN known u ON u.cell_id = e.cell_id AND u.unit = e.unit "
        "LEFT JOIN known c ON c.cell_id = e.cell_id AND c.unit = e.control_unit ORDER BY e.cell_id, e.unit, e.judge"
    )
    for row in records_of(frame):
        if row["cell_id"] not in content.names:
            continue  # named by the check of orphans
        unit, score = f"concept of unit {row['unit']}", row["balanced_accuracy"]
        checker.require_of(row["cell_id"], not row["without_unit"], "is of a unit that does not exist.", unit)
        checker.require_of(row["cell_id"], not row["wrong_control"], "has a control that is no other unit.", unit)
        control = row["control"]
        is_share = control is None or 0 <= control <= 1
        checker.require_of(row["cell_id"], is_share, f"has the control {control}; it must be from 0 to 1.", unit)
        sides = [(row[f"true_{side}s"] or 0, row[f"n_{side}"] or 0) for side in ("positive", "negative")]
        possible = all(0 <= right <= n for right, n in sides)
        checker.require_of(row["cell_id"], possible, "has more right answers than answers.", unit)
        if score is None or not possible:
            continue
        enough = min(n for _, n in sides) >= MIN_ANSWERS and bool(row["concept"])
        reason = f"has a balanced accuracy without a concept or from fewer than {MIN_ANSWERS} answers on a side."
        checker.require_of(row["cell_id"], enough, reason, unit)
        expected = sum(right / n if n else 0.5 for right, n in sides) / 2
        reason = f"has the balanced accuracy {score:g}, and its answers give {expected:g}."
        checker.require_of(row["cell_id"], abs(score - expected) < TOLERANCE, reason, unit)
