"""Checks of the activation maps of units."""

from __future__ import annotations

from results.store.records import records_of
from results.store.unit_maps import MAX_MAPS, MAX_SIDE, unpack
from results.verify.base import Checker, Content, check

#: Maps that are unpacked per cell; all are of the same run.
_SAMPLE = 50


@check("unit maps")
def unit_maps(content: Content, checker: Checker) -> None:
    """Check that maps are of alive units, one row per unit, and that they can be unpacked within their size."""
    frame = content.store.query(
        "SELECT m.cell_id, count(*) AS n, count(DISTINCT m.unit) AS distinct_units, "
        "count(*) FILTER (u.unit IS NULL) AS without_unit, count(*) FILTER (NOT u.alive) AS dead "
        "FROM unit_maps m LEFT JOIN units u ON u.cell_id = m.cell_id AND u.unit = m.unit GROUP BY m.cell_id"
    )
    for row in records_of(frame):
        if row["cell_id"] not in content.names:
            continue  # named by the check of orphans
        reason = f"are {row['n']} rows of {row['distinct_units']} units."
        checker.require_of(row["cell_id"], row["n"] == row["distinct_units"], reason, "unit maps")
        for name, words in (("without_unit", "of units that do not exist"), ("dead", "of dead units")):
            checker.require_of(row["cell_id"], not row[name], f"are {words} in {row[name]} rows.", "unit maps")
        sample = content.store.query(
            "SELECT unit, side, maps, peaks FROM unit_maps WHERE cell_id = ? ORDER BY unit LIMIT ?",
            [row["cell_id"], _SAMPLE],
        )
        bad = [row["unit"] for row in records_of(sample) if unpack(row["side"], row["maps"], row["peaks"]) is None]
        reason = (
            f"of unit {bad[0]} cannot be unpacked: a map has at most {MAX_SIDE} x {MAX_SIDE} bytes, and a unit at most "
            f"{MAX_MAPS} of them."
            if bad
            else ""
        )
        checker.require_of(row["cell_id"], not bad, reason, "unit maps")
