"""Published cells: every number of the paper's measured tables, with its setting, interval and rounding.

Needs no torch.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from results.published.rows import ABLATED, ELUDE_NAME, MAIN, PaperSetting, setting_of_elude
from results.published.tables import published_table

#: Half of the last digit of values that are printed with a spread, in the unit of the value: two decimals, one for
#: effective ranks.
_ROUNDING, _ROUNDING_OF = 0.005, {"effective_rank": 0.05}
#: The same of the printed spreads, and of the ends of printed intervals (Table 3), which have one decimal.
_SPREAD_ROUNDING, _END_ROUNDING = 0.005, 0.05
#: Tolerance for differences of decimal fractions, which are not exact in floating point.
_FLOATING = 1e-9
#: The paper's spreads are over three token sets, or over the three pairs of three initialisations.
_PUBLISHED_SEEDS = 3
RANK = "rank of win_rate"


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
    Quantity("llm_rank", "", RANK, 1.0, "rank"),
)
QUANTITIES: Mapping[int, tuple[Quantity, ...]] = {
    2: _MAIN_COLUMNS,
    3: (Quantity("win_rate_pct", "ci95_low,ci95_high", "win_rate", 100.0),),
    4: (
        Quantity(
            "cross_init_similarity_pct", "cross_init_std", "stability", 100.0, "%", 100.0, of_pairs=True, version=2
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
    9: (Quantity("effective_ef", "", "expansion_factor", 1.0, ""),),
}
TITLES: Mapping[int, str] = {
    2: "Interpretability and faithfulness",
    3: "Consensus win rate",
    4: "Stability and dictionary geometry",
    5: "Efficiency",
    6: "Generalisation",
    7: "Ablations at expansion factor 4",
    9: "Effective expansion factor of ELUDe",
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
            spread is printed. Half of the last printed digit is added to the spread, and to the ends of an interval.
        rounding: half of the last printed digit of `published`; None for ranks, which are not rounded.
        measured: mean over seeds; None: absent.
        measured_interval: 95 % interval of that mean; None: one cell, whose spread over seeds is unknown.
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
    rounding: float | None = None
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
        """True if each value lies in the other's interval, or if the values differ by rounding alone.

        None if one of the intervals is unknown and the values differ by more. A printed number represents all values
        that round to it, so half of its last digit is added on both sides.
        """
        if self.measured is None:
            return None
        more = (self.rounding or 0.0) + _FLOATING
        if self.rounding is not None and abs(self.measured - self.published) <= more:
            return True
        if self.published_interval is None or self.measured_interval is None:
            return None
        low, high = self.published_interval
        other_low, other_high = self.measured_interval
        return low - more <= self.measured <= high + more and other_low - more <= self.published <= other_high + more


@functools.cache
def published_cells(table: int) -> tuple[PublishedCell, ...]:
    """Return the cells of one table, as printed."""
    return tuple(
        PublishedCell(
            table=table,
            setting=_setting(table, row),
            method=str(row.get("method", row.get("variant", ELUDE_NAME))),
            metric=quantity.metric,
            unit=quantity.unit,
            published=float(row[quantity.column]),
            published_interval=_printed_interval(row, quantity),
            rounding=_rounding(float(row[quantity.column]), quantity, _printed_interval(row, quantity) is not None),
        )
        for row in published_table(table).to_dict("records")
        for quantity in QUANTITIES.get(table, ())
        if math.isfinite(row[quantity.column])
    )


def _rounding(value: float, quantity: Quantity, has_spread: bool) -> float | None:
    """Return half of the last printed digit.

    The values without a spread have fewer decimals in places: the accuracy of DINOv2 ViT-B/14 is 84.3 for the backbone
    and 84.29 for ELUDe, which is the same network.
    """
    if quantity.metric == RANK:
        return None
    if has_spread:
        return _ROUNDING_OF.get(quantity.metric, _ROUNDING)
    return 0.5 * 10.0 ** -len(str(value).partition(".")[2])


def _setting(table: int, row: Mapping[str, Any]) -> PaperSetting:
    if table == 9:
        return setting_of_elude(str(row["backbone"]), str(row["layer_1idx"]))
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
        return low - _END_ROUNDING, high + _END_ROUNDING
    value, spread = float(row[quantity.column]), float(row[quantity.spread]) if quantity.spread else math.nan
    if not math.isfinite(spread):
        return None
    # Printed as 0.00, a spread may be up to 0.005.
    error = (spread * quantity.spread_scale + _SPREAD_ROUNDING) / math.sqrt(_PUBLISHED_SEEDS)
    # Leaving out one of three runs leaves one pair: the jackknife over runs gives twice the error of the pairs' mean.
    reach = student_point(_PUBLISHED_SEEDS - 1) * error * (2 if quantity.of_pairs else 1)
    return value - reach, value + reach


def student_point(freedom: int) -> float:
    """Return the 97.5 % point of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))
