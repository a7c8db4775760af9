"""Images behind the units of a cell: their names, the cell of the original units, the layout of the tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from results.store.store import Store


def reference_cell(store: Store, cell_id: str) -> str | None:
    """Return the cell with the parents of a cell's units: backbone only, of the same seeds if possible."""
    frame = store.query(
        "SELECT o.cell_id FROM cells c JOIN cells o ON o.backbone = c.backbone AND o.site = c.site "
        "AND o.evaluation_fingerprint IS NOT DISTINCT FROM c.evaluation_fingerprint "
        "WHERE c.cell_id = ? AND o.method = 'identity' AND o.status = 'finished' "
        "ORDER BY (o.token_seed IS NOT DISTINCT FROM c.token_seed) DESC, "
        "(o.probing_fingerprint IS NOT DISTINCT FROM c.probing_fingerprint) DESC, o.started_at DESC, o.cell_id LIMIT 1",
        [cell_id],
    )
    return None if frame.empty else str(frame["cell_id"][0])


def last_position(store: Store, cell_id: str, sample: int = 2000) -> int | None:
    """Return the largest token position among the top images of a cell's first `sample` units; None without any."""
    frame = store.query(
        "SELECT max(list_max(top_position)) AS last FROM "
        "(SELECT top_position FROM units WHERE cell_id = ? AND alive LIMIT ?)",
        [cell_id, sample],
    )
    last = frame["last"].dropna()
    return None if last.empty else int(last.iloc[0])


def image_names(store: Store, fingerprint: str | None, indices: Sequence[int]) -> dict[int, tuple[str | None, str]]:
    """Return image index -> (file name within the set, class name or "")."""
    frame = store.query(
        'SELECT "index", name, class_name FROM images WHERE dataset = ? AND "index" IN (SELECT unnest(?::INTEGER[]))',
        [fingerprint, sorted({int(index) for index in indices})],
    )
    return {
        int(index): (name, class_name or "")
        for index, name, class_name in zip(frame["index"], frame["name"], frame["class_name"], strict=True)
    }
