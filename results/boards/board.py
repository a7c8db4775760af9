"""Board: the rows that may be ranked together, and their measurements.

Plain data; needs only the standard library.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from results.errors import StoreError
from results.nearest_names import alternatives

if TYPE_CHECKING:
    import pandas as pd

_ARROWS = {"higher": " ↑", "lower": " ↓", "none": ""}
#: Half the width of a 95 % interval of a normal distribution, in standard errors.
HALF_WIDTH = 1.959963984540054
#: Largest absolute value that is averaged; the squares of larger ones may exceed float64. Such a value counts as
#: undefined, as infinity does. Only a damaged store has one.
LARGEST = 1e100


class BoardKey(NamedTuple):
    """Properties that cells must share to be on one board; "" if a property was not recorded."""

    backbone: str
    site: str
    dataset: str
    evaluation_fingerprint: str
    probing_fingerprint: str

    @classmethod
    def of(cls, cell: Mapping[str, Any]) -> BoardKey:
        """Return the key of a row of `Store.cells()`."""
        return cls(*(str(cell[name] or "") for name in cls._fields))


#: Names of the properties in messages.
PLURALS = BoardKey("backbones", "sites", "data sets", "evaluation sets", "probing sets")


class AttachedScores(NamedTuple):
    """Scores of several cells, each attached to the first of its cells, and notes by cell."""

    scores: list[dict[str, Any]]
    notes: Mapping[str, Sequence[str]]

    def notes_of(self, cells: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return the notes that belong on a board of these cells."""
        return list(dict.fromkeys(note for cell in cells for note in self.notes.get(cell["cell_id"], ())))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """Measurement that is comparable over the rows of the board.

    Attributes:
        key: unique on its board: the metric id, plus what distinguishes it from the metric's other columns, if any.
        metric: metric id.
        version: of the metric's definition.
        params: of the metric.
        panel: judge panel of a judged metric.
        evaluation_fingerprint: the set it was measured on.
        device: of a timing or memory metric; None elsewhere.
        unit: "fraction" is shown in percent.
        direction: "higher", "lower" or "none": which is better.
        digits: decimals shown; values equal at these decimals share a rank.
        panel_agreement: Krippendorff's alpha of the panel of a judged metric; None elsewhere.
        panel_at_chance: why the panel of a judged metric cannot be told from random answers; "" elsewhere.
    """

    key: str
    metric: str
    version: int
    params: Mapping[str, Any]
    panel: str | None
    evaluation_fingerprint: str | None
    device: str | None
    unit: str
    direction: str
    digits: int = 2
    panel_agreement: float | None = None
    panel_at_chance: str = ""

    @property
    def name_with_unit(self) -> str:
        """Key and unit: "r2 (%)"."""
        unit = "%" if self.unit == "fraction" else self.unit
        return f"{self.key} ({unit})" if unit else self.key

    @property
    def heading(self) -> str:
        """Key, unit and an arrow for the better direction: "r2 (%) ↑"."""
        return self.name_with_unit + self.arrow

    @property
    def arrow(self) -> str:
        """Space and arrow for the better direction; nothing if there is none."""
        return _ARROWS[self.direction]

    def is_called(self, name: str | None) -> bool:
        """Return whether `name` is the column's key or metric."""
        return name in (self.key, self.metric)

    def display_value(self, value: float) -> float:
        """Return `value` as the printed number: in percent for fractions, rounded to `digits`."""
        return round(value * (100.0 if self.unit == "fraction" else 1.0), self.digits) + 0.0  # + 0.0: no minus zero

    def text(self, value: float) -> str:
        """Return `value` as it is printed, without its unit."""
        return f"{self.display_value(value):.{self.digits}f}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Aggregate:
    """One metric of one row over its seeds.

    Attributes:
        mean: of the finite values.
        std: sample standard deviation over seeds (n - 1); None for n = 1.
        n: number of finite values.
        values: the finite values, by token seed, then init seed.
        standard_error: mean of the cells' own standard errors; None if no cell gave one.
        n_undefined: number of values that were NaN or infinite; they are left out of the mean.
        direction: which is better.
        unit: of all of these.
        rank: 1 is best among the ranked rows of the group; values that are equal at display precision share a rank;
            None if the metric has no direction, or the row is not ranked in it (see `ranking`).
        mark: "best", "second" or None.
        interval: 95 % interval (low, high) of a value pooled over the seeds, such as a win rate; None otherwise.
        n_observations: number of units, images, tokens or comparisons behind the value: the mean over cells, rounded,
            or the total of a pooled value; None if it was not recorded.
        pairs_error: standard error of the mean of values of pairs of runs, and its degrees of freedom: pairs share
            runs, so `std / sqrt(n)` is not one; None otherwise.
        of_pairs: true if the values are of pairs of runs, so that `n` counts pairs and not seeds.
    """

    mean: float
    std: float | None
    n: int
    values: tuple[float, ...]
    standard_error: float | None
    n_undefined: int
    direction: str
    unit: str
    rank: int | None = None
    mark: str | None = None
    interval: tuple[float, float] | None = None
    n_observations: int | None = None
    pairs_error: tuple[float, int] | None = None
    of_pairs: bool = False

    @property
    def mean_error(self) -> tuple[float, int] | None:
        """Standard error of the mean over seeds, and its degrees of freedom; None for one value."""
        if self.pairs_error is not None or self.std is None:
            return self.pairs_error
        return self.std / math.sqrt(self.n), self.n - 1

    @property
    def total_error(self) -> float | None:
        """Standard error of the mean from all known sources: ``sqrt(seed_error^2 + standard_error^2)``.

        ``seed_error`` is that of `mean_error`: it falls with the number of seeds. The error within a cell does not,
        because all seeds share the evaluation images. It is exact if they share the units, too; if their units are
        separate samples, it is too large rather than too small.

        None if nothing is known: no error within a cell, and one value or equal values, of which a spread of 0 says
        nothing. For a pooled value it is a quarter of its interval's width (exactly, width / 3.92).
        """
        if self.interval is not None:
            return (self.interval[1] - self.interval[0]) / (2 * HALF_WIDTH)
        seed_error = self.mean_error[0] if self.mean_error else 0.0
        if self.standard_error is None:
            return seed_error or None
        return math.hypot(seed_error, self.standard_error)


@dataclasses.dataclass(frozen=True)
class Flag:
    """Reason why a row's values may mislead.

    Attributes:
        name: "collapsed", "below floor", "at chance" or "one seed".
        sentence: the measurement behind it, with its numbers.
    """

    name: str
    sentence: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One method in one configuration, over its seeds.

    Attributes:
        label: printed name; rows with the same label differ in `title`.
        title: the label, plus the differing settings if another row has the same label.
        method: registry name.
        config_id: hash of method and configuration.
        cell_ids: of all cells, finished and failed.
        n_finished: cells that finished.
        n_failed: cells that failed; they are excluded from means.
        errors: one sentence per failed cell.
        metrics: column key -> Aggregate; a metric with no finite value is absent.
        undefined: column key -> number of values that were not finite, for metrics without a finite value.
        group: "method", "control" or "virtual": only rows of one group are ranked together, controls not at all.
        family: family of the method; None if it is not known.
        control_for: families of which the method is the chance level.
        is_lossless: true if the method claims that its reconstruction is exact.
        n_seeds: number of finished cells with different seeds in the means.
        floors: id of a floor (see `Floor`) -> its mean over the row's cells.
        flags: reasons why the row has no rank and no mark (see `flags`).
    """

    label: str
    title: str
    method: str
    config_id: str
    cell_ids: tuple[str, ...]
    n_finished: int
    n_failed: int
    errors: tuple[str, ...]
    metrics: Mapping[str, Aggregate]
    undefined: Mapping[str, int]
    group: str = "method"
    family: str | None = None
    control_for: tuple[str, ...] = ()
    is_lossless: bool = False
    n_seeds: int = 0
    floors: Mapping[str, float] = dataclasses.field(default_factory=dict)
    flags: tuple[Flag, ...] = ()

    @property
    def cell_count(self) -> str:
        """Number of seeds in the means: "3", or "2/3" if one of three cells failed."""
        return f"{self.n_finished}/{self.n_finished + self.n_failed}" if self.n_failed else str(self.n_seeds)

    @property
    def title_with_flags(self) -> str:
        """Title, and in brackets the names of the flags: "DNRwCV [collapsed, one seed]"."""
        return f"{self.title} [{', '.join(flag.name for flag in self.flags)}]" if self.flags else self.title


@dataclasses.dataclass(frozen=True, kw_only=True)
class Floor:
    """Metric of the network with the layer ablated: a footer of the board, not a column.

    Attributes:
        column: the metric; its id starts with "floor_".
        low: least value over the board's cells.
        high: greatest value over the board's cells; equal to `low` if all cells agree.
    """

    column: Column
    low: float
    high: float

    @property
    def text(self) -> str:
        """The value, or the range of values, as printed, without its unit."""
        low, high = self.column.text(self.low), self.column.text(self.high)
        return low if low == high else f"{low} to {high}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Board:
    """Rows of one backbone, site, data set, evaluation set and probing set.

    Attributes:
        notes: sentences for the reader, such as what is not ranked together.
        headline: sentences of the headline, the first one first (`results.comparison.headline`); empty if it was not
            asked for, because it reads the units.
    """

    backbone: str
    backbone_title: str
    site: str
    dataset: str | None
    evaluation_fingerprint: str | None
    probing_fingerprint: str | None
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    floors: tuple[Floor, ...]
    notes: tuple[str, ...]
    headline: tuple[str, ...] = ()

    @property
    def layer_title(self) -> str:
        """Backbone and site in words."""
        return f"{self.backbone_title} at {self.site}"

    @property
    def title(self) -> str:
        """Backbone, site and data set in words."""
        return self.layer_title + (f" on {self.dataset}" if self.dataset else "")

    def columns_called(self, names: Collection[str] | None) -> list[Column]:
        """Return the columns whose key or metric is in `names`; None: all columns."""
        return [column for column in self.columns if names is None or any(map(column.is_called, names))]


def require_metrics(boards: Sequence[Board], names: Collection[str]) -> None:
    """Raise StoreError if one of `names` is the key or metric of no column of `boards`."""
    for name in names:
        if not any(column.is_called(name) for board in boards for column in board.columns):
            metric_ids = sorted({column.metric for board in boards for column in board.columns})
            raise StoreError(f"No board here has the metric {name!r}. {alternatives(name, metric_ids)}")


def digits_of(unit: str, values: list[float]) -> int:
    """Return the number of decimals of a column of `values`: two for percent, else four significant digits."""
    if unit == "fraction":
        return 2
    largest = max((abs(value) for value in values), default=0.0)
    if largest == 0.0 or not math.isfinite(largest):
        return 3
    return min(max(3 - math.floor(math.log10(largest)), 0), 8)


def _fitting(value: Any) -> Any:
    """Return a value of a column; None for a sum of counts beyond 64 bits, which only a hostile store has."""
    return None if isinstance(value, int) and abs(value) >= 2**63 else value


def board_frame(board: Board) -> pd.DataFrame:
    """Return the board as a frame, one line per row.

    Columns: label, title, group, family, flags ("collapsed; one seed"), ..., and per column key its mean, _std,
    _standard_error (within a cell), _total_error (see `Aggregate.total_error`), _n, _n_observations and _rank; for
    pooled values also _low and _high, and _n is the number of observations.
    """
    import pandas as pd  # imported here, so that `import results` stays light

    fields = ("label", "title", "method", "group", "family", "config_id", "n_finished", "n_failed", "n_seeds")
    content: dict[str, Any] = {name: [getattr(row, name) for row in board.rows] for name in fields}
    content["flags"] = ["; ".join(flag.name for flag in row.flags) for row in board.rows]
    for column in board.columns:
        key, aggregates = column.key, [row.metrics.get(column.key) for row in board.rows]
        is_pooled = any(aggregate.interval for aggregate in aggregates if aggregate)
        for suffix, name, kind in (
            *(("", "mean", "float64"), ("_std", "std", "float64"), ("_standard_error", "standard_error", "float64")),
            *(("_total_error", "total_error", "float64"), ("_n", "n_observations" if is_pooled else "n", None)),
            *(("_n_observations", "n_observations", "Int64"), ("_rank", "rank", "Int64")),
        ):
            absent = 0 if suffix == "_n" else None
            values = [_fitting(getattr(aggregate, name)) if aggregate else absent for aggregate in aggregates]
            content[key + suffix] = pd.Series(values, dtype=kind)
        if is_pooled:
            ends = [(aggregate.interval if aggregate else None) or (None, None) for aggregate in aggregates]
            content[f"{key}_low"] = pd.Series([low for low, _ in ends], dtype="float64")
            content[f"{key}_high"] = pd.Series([high for _, high in ends], dtype="float64")
    # In one step: pandas warns, in the user's terminal, about frames that are built column by column.
    return pd.DataFrame(content)


#: Suffixes of the columns of `board_frame` that belong to one column of the board.
FRAME_SUFFIXES = (*("", "_std", "_standard_error", "_total_error", "_n", "_n_observations", "_rank", "_low", "_high"),)


def board_json(board: Board) -> dict[str, Any]:
    """Return the board as JSON content: dictionaries, lists, strings, finite numbers, booleans, None."""
    content: dict[str, Any] = _jsonable(dataclasses.asdict(board))
    return content | {"rows": [row_json(row) for row in board.rows]}


def row_json(row: Row) -> dict[str, Any]:
    """Return one row of a board as JSON content; each of its metrics also has its `total_error`."""
    content: dict[str, Any] = dataclasses.asdict(row)
    for key, aggregate in row.metrics.items():
        content["metrics"][key]["total_error"] = aggregate.total_error
    cleaned: dict[str, Any] = _jsonable(content)
    return cleaned


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
