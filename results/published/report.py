"""Tables of the paper beside the measured values: cell by cell, and the order of the methods.

Published and measured values are never averaged, ranked or fitted together; values that were not measured are marked as
absent. Needs no torch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from results.boards.board import HALF_WIDTH, Aggregate, Board, Row
from results.boards.build import leaderboard
from results.published.rows import ABLATED, MAIN, PAPER_COUNTERPARTS, Counterparts, PaperSetting
from results.published.tables import published_table
from results.published.win_rates import Tournaments, is_proxy
from results.store.records import grouped
from results.store.stability_versions import FULL_DECODER_VERSION

if TYPE_CHECKING:
    from results.store import Store

#: Half of the last digit that the paper prints: two decimals; one for effective ranks.
_ROUNDING, _ROUNDING_OF = 0.005, {"effective_rank": 0.05}
#: Table 5 was timed with all sub-units of splits summed: the suffix of those scores.
_TIMED = {"elude": "_materialised", "random_split": "_materialised"}
#: The paper's spreads are over three token sets, or over the three pairs of three initialisations.
_PUBLISHED_SEEDS = 3
_RANK = "rank of win_rate"


class Quantity(NamedTuple):
    """One column of a published table and the equivalent metric of the store."""

    column: str
    spread: str
    """its standard deviation, or "low,high" for a printed interval"""
    metric: str
    scale: float = 1.0
    """factor that converts a stored value into the paper's unit"""
    unit: str = "%"
    spread_scale: float = 1.0
    """factor that converts a printed spread into the unit of the value"""
    of_pairs: bool = False
    """true if the spread is over pairs of runs, which share runs and so are not independent"""
    version: int = 1
    """first version of the metric that has the paper's definition"""


_MAIN_COLUMNS = (
    Quantity("ms_score_pct", "ms_score_std", "ms_score", 100.0),
    Quantity("accuracy_pct", "accuracy_std", "accuracy", 100.0),
    Quantity("r2_pct", "r2_std", "r2", 100.0),
    Quantity("llm_rank", "", _RANK, 1.0, "rank"),
)
QUANTITIES: Mapping[int, tuple[Quantity, ...]] = {
    2: _MAIN_COLUMNS,
    3: (Quantity("win_rate_pct", "ci95_low,ci95_high", "win_rate", 100.0),),
    4: (
        Quantity(
            *("cross_init_similarity_pct", "cross_init_std", "stability", 100.0, "%", 100.0),
            of_pairs=True,
            version=FULL_DECODER_VERSION,
        ),
        Quantity("effective_rank", "effective_rank_std", "effective_rank", 1.0, ""),
        Quantity("coherence_pct", "coherence_std", "max_collinearity", 100.0, "%", 100.0),
    ),
    5: (
        Quantity("ms_per_batch", "ms_std", "latency_ms", 1.0, "ms"),
        Quantity("peak_mem_mb", "peak_mem_std", "peak_memory", 1.0, "MB"),
    ),
    6: _MAIN_COLUMNS,
    7: (Quantity("ms_score_pct", "ms_score_std", "ms_score", 100.0),),
}
TITLES: Mapping[int, str] = {
    2: "Interpretability and faithfulness",
    3: "Consensus win rate",
    4: "Stability and dictionary geometry",
    5: "Efficiency",
    6: "Generalisation",
    7: "Ablations at expansion factor 4",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedCell:
    """One published number and its measured counterpart, in the paper's units.

    Attributes:
        table: number of the paper's table.
        setting: setting of the measurement.
        method: name in the paper.
        metric: metric id of the store.
        unit: unit of all values.
        published: as printed.
        published_interval: 95 % interval of the mean, from the printed spread (three seeds) or as printed; None: no
            spread is printed.
        measured: mean over seeds; None: absent.
        measured_interval: 95 % interval of that mean; None: one cell, and no standard error.
        n: cells of the measured mean.
        why_absent: reason if there is no measured value.
        row: title of the measured row.
        config_id: of the measured row.
    """

    table: int
    setting: PaperSetting
    method: str
    metric: str
    unit: str
    published: float
    published_interval: tuple[float, float] | None
    measured: float | None = None
    measured_interval: tuple[float, float] | None = None
    n: int = 0
    why_absent: str = ""
    row: str = ""
    config_id: str = ""

    @property
    def difference(self) -> float | None:
        """Measured minus published value."""
        return None if self.measured is None else self.measured - self.published

    @property
    def within(self) -> bool | None:
        """True if each value lies in the other's interval; None if one of the intervals is unknown.

        A printed number represents all values that round to it, so half of its last digit is added on both sides.
        """
        if self.measured is None or self.published_interval is None or self.measured_interval is None:
            return None
        low, high = self.published_interval
        other_low, other_high = self.measured_interval
        more = _ROUNDING_OF.get(self.metric, _ROUNDING)
        return low - more <= self.measured <= high + more and other_low - more <= self.published <= other_high + more


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
    """All cells of the paper's measured tables (2 to 7), and the order of the methods in each."""

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
    cells = tuple(measured.compare(published) for table in numbers for published in _published(table))
    return PublishedReport(cells=cells, ranks=tuple(_ranks(cells)), notes=tuple(measured.notes()))


@functools.cache
def _published(table: int) -> tuple[PublishedCell, ...]:
    """Return the cells of one table, as printed."""
    return tuple(
        PublishedCell(
            table=table,
            setting=_setting(table, row),
            method=str(row.get("method", row.get("variant"))),
            metric=quantity.metric,
            unit=quantity.unit,
            published=float(row[quantity.column]),
            published_interval=_printed_interval(row, quantity),
        )
        for row in published_table(table).to_dict("records")
        for quantity in QUANTITIES.get(table, ())
        if math.isfinite(row[quantity.column])
    )


def _setting(table: int, row: Mapping[str, Any]) -> PaperSetting:
    if table in (4, 5):
        return MAIN
    if table == 7:
        return ABLATED
    number = row.get("layer_1idx", 12)
    layer = int(number) if math.isfinite(number) else None
    return PaperSetting(str(row["backbone"]), layer, int(row.get("expansion_factor", 8)))


def _printed_interval(row: Mapping[str, Any], quantity: Quantity) -> tuple[float, float] | None:
    if "," in quantity.spread:
        low, high = (float(row[name]) for name in quantity.spread.split(","))
        return low, high
    value, spread = float(row[quantity.column]), float(row[quantity.spread]) if quantity.spread else math.nan
    if not math.isfinite(spread):
        return None
    error = spread * quantity.spread_scale / math.sqrt(_PUBLISHED_SEEDS)
    # Leaving out one of three runs leaves one pair: the jackknife over runs gives twice the error of the pairs' mean.
    reach = _student(_PUBLISHED_SEEDS - 1) * error * (2 if quantity.of_pairs else 1)
    return value - reach, value + reach


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
        if cell.metric in (_RANK, "win_rate"):
            return self._judged(matched_cell, row, quantity)
        name = cell.metric + (_TIMED.get(row.method, "") + self.counterparts.compiled if cell.table == 5 else "")
        columns = [column for column in board.columns if column.metric == name and column.key in row.metrics]
        if not columns:
            return dataclasses.replace(matched_cell, why_absent=f"{name} was not measured")
        if columns[0].version < quantity.version:
            why = f"{name} was measured by version {columns[0].version}, whose definition is not the paper's"
            return dataclasses.replace(matched_cell, why_absent=why)
        if columns[0].device:
            self._devices.add(columns[0].device)
        aggregate = row.metrics[columns[0].key]
        return _with(matched_cell, quantity, aggregate.mean, _interval(aggregate), aggregate.n)

    def _judged(self, matched_cell: PublishedCell, row: Row, quantity: Quantity) -> PublishedCell:
        """Return the cell with the win rate, or its rank, among the methods that the paper judged together."""
        rivals = []
        for other in _published(matched_cell.table):
            if other.setting == matched_cell.setting:
                with contextlib.suppress(_NotMeasured):
                    rivals.append(self._row(other)[1])
        judged = self.tournaments.judged(row, rivals)
        if judged is None:
            return dataclasses.replace(matched_cell, why_absent="not judged")
        self._panels.add(judged.panel)
        if matched_cell.metric == _RANK:
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
        settings = {cell.setting for table in QUANTITIES for cell in _published(table)}
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
    if aggregate.mean_error is not None:
        error, freedom = aggregate.mean_error
        reach = _student(freedom) * error
    elif aggregate.standard_error is not None:
        reach = HALF_WIDTH * aggregate.standard_error
    else:
        return None
    return aggregate.mean - reach, aggregate.mean + reach


def _student(freedom: int) -> float:
    """Return the 97.5 % point of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))


def _ranks(cells: Sequence[PublishedCell]) -> list[RankAgreement]:
    measured = [cell for cell in cells if cell.measured is not None]
    groups = grouped(measured, lambda cell: (cell.table, cell.setting, cell.metric))
    return [RankAgreement(*key, len(group), *_correlations(group)) for key, group in groups.items()]


def _correlations(cells: Sequence[PublishedCell]) -> tuple[float | None, float | None]:
    """Return Spearman's and Kendall's correlation of the published and the measured values."""
    from scipy.stats import kendalltau, spearmanr

    first, second = [cell.published for cell in cells], [cell.measured for cell in cells]
    if len(cells) < 3 or len(set(first)) == 1 or len(set(second)) == 1:
        return None, None
    return float(spearmanr(first, second).statistic), float(kendalltau(first, second).statistic)
