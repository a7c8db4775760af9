"""Win rates as in the paper: among the methods of one setting, for any other tournaments in the store.

A board shows one tournament for each panel. The paper judges each setting separately, and several settings may be on
one board (three expansion factors at one layer), so the tournament is selected here by its participants.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from results.boards.board import Row
from results.boards.panel_kind import is_people, is_proxy
from results.boards.win_rate_columns import interval_of
from results.store import judgments
from results.store.records import grouped, records_of

if TYPE_CHECKING:
    from results.store import Store


class Judged(NamedTuple):
    """Result of one panel for one method among its rivals."""

    panel: str
    win_rate: float
    interval: tuple[float, float] | None
    """95 % interval, for new units if it was computed"""
    rank: int
    """1 + number of rivals with a larger win rate"""
    n_cells: int
    """number of pooled cells"""


class Tournaments:
    """All tournaments of a store, in the order of judging."""

    def __init__(self, store: Store) -> None:
        rows = [row for row in records_of(judgments.win_rates(store)) if row["win_rate"] is not None]
        self._members = list(grouped(rows, lambda row: row["tournament"]).values())

    def judged(self, row: Row, rivals: Sequence[Row]) -> Judged | None:
        """Return the result of a board's row among its rivals (itself one of them); None if it was not judged.

        Of several tournaments that have the row, vision-language judges (the paper's) are preferred to people, and
        these to a proxy, then the one whose members match the rivals best, then the one judged last.
        """
        rival_cells = {cell_id for rival in rivals for cell_id in rival.cell_ids}

        def preference(members: Sequence[Mapping[str, Any]]) -> tuple[bool, bool, int]:
            n_rivals = sum(_meets(member, rival_cells) for member in members)
            panel = members[0]["panel"]
            return not is_proxy(panel), not is_people(panel), 2 * n_rivals - len(members)

        judged = [members for members in self._members if any(_meets(member, row.cell_ids) for member in members)]
        if not judged:
            return None
        # `max` returns the first of equals.
        members = max(reversed(judged), key=preference)
        entry = next(member for member in members if _meets(member, row.cell_ids))
        rate = float(entry["win_rate"])
        better = sum(_meets(member, rival_cells) and member["win_rate"] > rate for member in members)
        return Judged(entry["panel"], rate, interval_of(entry), 1 + better, len(entry["cell_ids"]))


def _meets(member: Mapping[str, Any], cell_ids: Collection[str]) -> bool:
    return not set(member["cell_ids"]).isdisjoint(cell_ids)
