"""Tables of the paper beside the measured values: cell by cell, and the order of the methods.

Published and measured values are never averaged, ranked or fitted together; values that were not measured are marked as
absent. Needs no torch.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from results.boards.board import Aggregate, Board, Row
from results.boards.panel_kind import is_proxy
from results.comparison.leaderboard import leaderboard
from results.published.printed import (
    QUANTITIES,
    RANK,
    PublishedCell,
    Quantity,
    published_cells,
    student_point,
)
from results.published.rows import PAPER_COUNTERPARTS, Counterparts, PaperSetting
from results.published.win_rates import Tournaments
from results.store.records import grouped

if TYPE_CHECKING:
    from results.store import Store

#: Table 5 was timed with all sub-units of splits summed: the suffix of those scores.
_TIMED = {"elude": "_materialised", "random_split": "_materialised"}


class RankAgreement(NamedTuple):
    """Agreement of the measured order of the methods with the published one."""

    table: int
    setting: PaperSetting
    metric: str
    n: int
    """number of methods with both values"""
    spearman: float | None
    """None for n < 3, or if all values of one side are equal"""
    kendall: float | None
    """tau-b"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedReport:
    """All cells of the paper's measured tables (2 to 7 and 9), and the order of the methods in each."""

    cells: tuple[PublishedCell, ...]
    ranks: tuple[RankAgreement, ...]
    notes: tuple[str, ...]


def against_published(
    store: Store, *, tables: Iterable[int] | None = None, counterparts: Counterparts = PAPER_COUNTERPARTS
) -> PublishedReport:
    """Compare every number of the paper's tables with the measurement in `store` of the same setting.

    Args:
        tables: numbers of the paper's tables; None: all that are measured.
        counterparts: names in the store for the paper's names.

    Raises:
        StoreError: the store cannot be read, or there is no such table.
    """
    measured = _Measured(store, counterparts)
    numbers = sorted(QUANTITIES if tables is None else set(tables))
    cells = tuple(measured.compare(published) for table in numbers for published in published_cells(table))
    return PublishedReport(cells=cells, ranks=tuple(_ranks(cells)), notes=tuple(measured.notes()))


class _NotMeasured(Exception):
    """A published cell has no measured counterpart, for the reason given."""


class _Measured:
    """Measured values of a store, looked up by the paper's names."""

    def __init__(self, store: Store, counterparts: Counterparts) -> None:
        self.boards = leaderboard(store)
        self.counterparts = counterparts
        cells = store.cells()
        self.config_of = dict(zip(cells["config_id"], cells["config"], strict=True))
        self.tournaments = Tournaments(store)
        self._ambiguous: dict[str, None] = {}
        self._panels: set[str] = set()
        self._devices: set[str] = set()

    def compare(self, cell: PublishedCell) -> PublishedCell:
        try:
            board, row = self._row(cell)
        except _NotMeasured as reason:
            return dataclasses.replace(cell, why_absent=str(reason))
        matched_cell = dataclasses.replace(cell, row=row.title, config_id=row.config_id)
        quantity = next(quantity for quantity in QUANTITIES[cell.table] if quantity.metric == cell.metric)
        if cell.metric in (RANK, "win_rate"):
            return self._judged(matched_cell, row, quantity)
        name = cell.metric + (_TIMED.get(row.method, "") + self.counterparts.compiled if cell.table == 5 else "")
        columns = [
            column
            for column in board.columns
            if column.metric == name and column.version >= quantity.version and column.key in row.metrics
        ]
        if not columns:
            version = f" in version {quantity.version}, the paper's definition" if quantity.version > 1 else ""
            return dataclasses.replace(matched_cell, why_absent=f"{name} was not measured{version}")
        if columns[0].device:
            self._devices.add(columns[0].device)
        aggregate = row.metrics[columns[0].key]
        return _with(matched_cell, quantity, aggregate.mean, _interval(aggregate), aggregate.n)

    def _judged(self, matched_cell: PublishedCell, row: Row, quantity: Quantity) -> PublishedCell:
        """Return the cell with the win rate, or its rank, among the methods that the paper judged together."""
        rivals = []
        for other in published_cells(matched_cell.table):
            if other.setting == matched_cell.setting:
                with contextlib.suppress(_NotMeasured):
                    rivals.append(self._row(other)[1])
        judged = self.tournaments.judged(row, rivals)
        if judged is None:
            return dataclasses.replace(matched_cell, why_absent="not judged")
        self._panels.add(judged.panel)
        if matched_cell.metric == RANK:
            return _with(matched_cell, quantity, judged.rank, None, judged.n_cells)
        return _with(matched_cell, quantity, judged.win_rate, judged.interval, judged.n_cells)

    def _row(self, cell: PublishedCell) -> tuple[Board, Row]:
        """Return the measured counterpart of a published cell, and its board. Raises _NotMeasured."""
        setting, counterparts = cell.setting, self.counterparts
        boards = [board for board in self.boards if counterparts.is_backbone(board.backbone, setting)]
        if not boards:
            raise _NotMeasured(f"no cell of {setting.backbone}")
        boards = [board for board in boards if counterparts.is_site(board.site, setting)]
        if not boards:
            raise _NotMeasured(f"no cell of this layer of {setting.backbone}")
        # Of several sets at one layer, the one with most finished cells is the experiment; the others are trials.
        board = max(boards, key=lambda board: sum(row.n_finished for row in board.rows))
        if len(boards) > 1:
            note = (
                f"{setting.backbone} at {board.site} has {len(boards)} boards of different sets; "
                f"the one with most finished cells is shown ({board.dataset})."
            )
            self._ambiguous[note] = None
        rows = [
            row
            for row in board.rows
            if row.n_finished
            and counterparts.is_method(row.method, self.config_of.get(row.config_id) or {}, setting, cell.method)
        ]
        if not rows:
            raise _NotMeasured("no finished cell of this method with the paper's settings")
        most = max(row.n_finished for row in rows)
        best = [row for row in rows if row.n_finished == most]
        if len(best) > 1:
            raise _NotMeasured(f"{len(best)} rows match ({', '.join(row.title for row in best)})")
        return board, best[0]

    def notes(self) -> list[str]:
        """Return notes on the measured values."""
        settings = {cell.setting for table in QUANTITIES for cell in published_cells(table)}
        backbones = {board.backbone for board in self.boards}
        if not any(self.counterparts.is_backbone(name, setting) for name in backbones for setting in settings):
            return ["No backbone of this store is one of the paper's (`--scale tiny` replaces them by others)."]
        sets = sorted({board.dataset or "(not recorded)" for board in self.boards})
        notes = [f"Measured on: {', '.join(sets) or 'nothing'}. Published: ImageNet-1k."]
        if self._panels:
            proxies = " A proxy is not a language model." if any(map(is_proxy, self._panels)) else ""
            notes.append(
                f"Judged by: {', '.join(sorted(self._panels))}. Published: three vision-language models.{proxies}"
            )
        if self._devices:
            notes.append(f"Timed on: {', '.join(sorted(self._devices))}. Published: one H100.")
        return notes + list(self._ambiguous)


def _with(
    cell: PublishedCell, quantity: Quantity, mean: float, interval: tuple[float, float] | None, n: int
) -> PublishedCell:
    scaled = None if interval is None else (interval[0] * quantity.scale, interval[1] * quantity.scale)
    return dataclasses.replace(cell, measured=mean * quantity.scale, measured_interval=scaled, n=n)


def _interval(aggregate: Aggregate) -> tuple[float, float] | None:
    if aggregate.interval is not None:
        return aggregate.interval
    if aggregate.mean_error is None:
        return None
    error, freedom = aggregate.mean_error
    reach = student_point(freedom) * error
    return aggregate.mean - reach, aggregate.mean + reach


def _ranks(cells: Sequence[PublishedCell]) -> list[RankAgreement]:
    measured = [cell for cell in cells if cell.measured is not None]
    n_published = Counter(map(_order_of, cells))
    groups = grouped(measured, _order_of)
    # One method, as in Table 9, has no order.
    ordered = {key: group for key, group in groups.items() if n_published[key] > 1}
    return [RankAgreement(*key, len(group), *_correlations(group)) for key, group in ordered.items()]


def _order_of(cell: PublishedCell) -> tuple[int, PaperSetting, str]:
    return cell.table, cell.setting, cell.metric


def _correlations(cells: Sequence[PublishedCell]) -> tuple[float | None, float | None]:
    """Return Spearman's and Kendall's correlation of the published and the measured values."""
    from scipy.stats import kendalltau, spearmanr

    first, second = [cell.published for cell in cells], [cell.measured for cell in cells]
    if len(cells) < 3 or len(set(first)) == 1 or len(set(second)) == 1:
        return None, None
    return float(spearmanr(first, second).statistic), float(kendalltau(first, second).statistic)
