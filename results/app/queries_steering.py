"""Queries of the page Steer: images to choose from, and frequent labels."""

from __future__ import annotations

from collections.abc import Sequence

from results.app.queries import Records, records
from results.store import Store
from results.store.labels import LEVEL


def image_page(store: Store, fingerprint: str | None, search: str, *, limit: int, offset: int = 0) -> Records:
    """Return some images of a set in its order: name, class_name, and `total`, the number of all that match.

    Args:
        store: the store.
        fingerprint: of the set.
        search: part of the name or class, in upper or lower case; "": all images.
        limit: images at most.
        offset: images that are left out before.
    """
    return records(
        store.query(
            "SELECT name, class_name, count(*) OVER () AS total FROM images WHERE dataset = ? AND name IS NOT NULL "
            "AND (contains(lower(name), ?) OR contains(lower(coalesce(class_name, '')), ?)) ORDER BY \"index\" "
            "LIMIT ? OFFSET ?",
            [fingerprint, search.lower(), search.lower(), limit, offset],
        )
    )


def image_class(store: Store, fingerprint: str | None, name: str) -> str | None:
    """Return the class of an image of a set, "" if it has none; None if there is no such image."""
    frame = store.query(
        "SELECT coalesce(class_name, '') AS class FROM images WHERE dataset = ? AND name = ? LIMIT 1",
        [fingerprint, name],
    )
    return None if frame.empty else str(frame["class"][0])


def frequent_labels(store: Store, cell_id: str, scorer: str | None, limit: int) -> list[str]:
    """Return the commonest best labels of a cell's units that are above the null, by a scorer's newest labels.

    Args:
        store: the store.
        cell_id: the cell.
        scorer: its scorer; None: the one that labelled last.
        limit: labels at most.
    """
    frame = store.query(
        "SELECT label FROM unit_labels WHERE cell_id = $1 AND rank = 1 AND p_value <= $2 AND labelling = ("
        "SELECT labelling FROM labellings WHERE cell_id = $1 AND ($3::VARCHAR IS NULL OR scorer = $3) "
        "ORDER BY labelled_at DESC, labelling LIMIT 1) GROUP BY label ORDER BY count(*) DESC, label LIMIT $4",
        [cell_id, LEVEL, scorer, limit],
    )
    return [str(label) for label in frame["label"]]


def units_by_number(store: Store, cell_id: str, units: Sequence[int]) -> Records:
    """Return units of a cell with their lists of top images, in the given order; missing ones are left out."""
    frame = store.query(
        "SELECT * EXCLUDE (cell_id) FROM units WHERE cell_id = ? AND unit IN (SELECT unnest(?::INTEGER[]))",
        [cell_id, [int(unit) for unit in units]],
    )
    rows = {row["unit"]: row for row in records(frame.drop_duplicates("unit"))}
    return [rows[unit] for unit in units if unit in rows]
