"""Boards of a store, with the flags that need a paired comparison."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from results.boards.board import Board
from results.boards.build import boards_of
from results.comparison.chance_pairs import paired_on_boards
from results.comparison.paired import CellScores
from results.store import group_scores, judgments

if TYPE_CHECKING:
    from results.store import Store


def leaderboard(
    store: Store,
    *,
    suite: str | None = None,
    backbone: str | None = None,
    site: str | None = None,
    cell_ids: Collection[str] | None = None,
    sort_by: str | None = None,
) -> list[Board]:
    """Return the boards of a store, ordered by backbone, site and sets; none for a store without cells.

    Cells of a sweep are left out, with a note, if there are others, unless `suite` or `cell_ids` selects them.

    Args:
        suite: only cells that were first run for this suite. A cell that two suites share belongs to the first; to
            see all of one suite's cells, give `cell_ids`.
        backbone: only this backbone (registry name).
        site: only this site.
        cell_ids: only these cells.
        sort_by: metric id to sort rows by; default ms_score.

    Raises:
        StoreError: the store cannot be read, or no cell has the metric `sort_by`.
    """
    cells = store.cells(suite=suite, backbone=backbone, site=site)
    scores = store.scores(suite=suite, backbone=backbone, site=site)
    if cell_ids is not None:
        wanted = set(cell_ids)
        cells = cells[cells["cell_id"].isin(wanted)]
        scores = scores[scores["cell_id"].isin(wanted)]
    return boards_of(
        cells,
        scores,
        sort_by=sort_by,
        win_rates=judgments.win_rates(store),
        groups=group_scores.group_scores(store),
        sweeps=suite is not None or cell_ids is not None,
        paired_on=paired_on_boards(CellScores(store, cells, scores)),
    )
