"""Queries of the front: what a board compares, and the best units of a cell."""

from __future__ import annotations

from typing import NamedTuple

from results.app.queries import Records, mapping, records
from results.boards.board import Board
from results.store import Store


class Extent(NamedTuple):
    """Numbers behind a board; 0 if they were not recorded."""

    images: int
    token_seeds: int


def extent(store: Store, board: Board) -> Extent:
    """Return the number of evaluation images of a board, and of the token seeds of its finished cells."""
    cell_ids = sorted({cell_id for row in board.rows for cell_id in row.cell_ids})
    frame = store.query(
        'SELECT (SELECT count(DISTINCT "index") FROM images WHERE dataset = ?) AS images, '
        "(SELECT count(DISTINCT token_seed) FROM cells WHERE status = 'finished' "
        "AND cell_id IN (SELECT unnest(?::VARCHAR[]))) AS token_seeds",
        [board.evaluation_fingerprint or "", cell_ids],
    )
    row = records(frame)[0]
    return Extent(int(row["images"]), int(row["token_seeds"]))


def finished_cell(store: Store, cell_ids: tuple[str, ...]) -> str | None:
    """Return the first finished cell of some, by its seeds; None if all failed."""
    frame = store.query(
        "SELECT cell_id, 1 FROM cells WHERE status = 'finished' AND cell_id IN (SELECT unnest(?::VARCHAR[])) "
        "ORDER BY token_seed NULLS FIRST, init_seed NULLS FIRST, cell_id LIMIT 1",
        [list(cell_ids)],
    )
    return next(iter(mapping(frame)), None)


def best_units(store: Store, cell_id: str, limit: int) -> Records:
    """Return the alive units of a cell that are furthest above chance, with their lists of top images, best first.

    The level of chance is that of each unit at its own kind of token; 0 if it was not measured.
    """
    gain = "ms_score - coalesce(nullif(ms_score_token_null, 'NaN'), 0)"
    return records(
        store.query(
            f"SELECT unit, ms_score, nullif(ms_score_token_null, 'NaN') AS chance, top_image, top_position, top_value "
            f"FROM units WHERE cell_id = ? AND unit IN (SELECT unit FROM units WHERE cell_id = ? AND alive AND "
            f"NOT isnan(ms_score) ORDER BY {gain} DESC, unit LIMIT ?) ORDER BY {gain} DESC, unit",
            [cell_id, cell_id, limit],
        )
    )
