"""Board: the rows that may be ranked together, and their measurements.

Plain data; needs only the standard library.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd


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
        rank: 1 is best; values that are equal at display precision share a rank; None if the metric has no direction.
        mark: "best", "second" or None.
        interval: 95 % interval (low, high) of a value pooled over the seeds, such as a win rate; None otherwise.
        n_observations: number of observations of a pooled value.
        pairs_error: standard error of the mean of values of pairs of runs, and its degrees of freedom: pairs share
            runs, so `std / sqrt(n)` is not one; None otherwise.
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

    @property
    def mean_error(self) -> tuple[float, int] | None:
        """Standard error of the mean over seeds, and its degrees of freedom; None for one value."""
        if self.pairs_error is not None or self.std is None:
            return self.pairs_error
        return self.std / math.sqrt(self.n), self.n - 1


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Board:
    """Rows of one backbone, site, data set, evaluation set and probing set; `notes` lists what is not ranked."""

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


def digits_of(unit: str, values: list[float]) -> int:
    """Return the number of decimals of a column of `values`: two for percent, else four significant digits."""
    if unit == "fraction":
        return 2
    largest = max((abs(value) for value in values), default=0.0)
    if largest == 0.0 or not math.isfinite(largest):
        return 3
    return min(max(3 - math.floor(math.log10(largest)), 0), 8)


def board_frame(board: Board) -> pd.DataFrame:
    """Return the board as a frame: one line per row, with mean, _std, _standard_error, _n and _rank per column key."""
    import pandas as pd  # imported here, so that `import results` stays light

    records = []
    for row in board.rows:
        record: dict[str, Any] = {
            "label": row.label,
            "title": row.title,
            "method": row.method,
            "config_id": row.config_id,
            "n_finished": row.n_finished,
            "n_failed": row.n_failed,
        }
        for column in board.columns:
            aggregate = row.metrics.get(column.key)
            record[column.key] = aggregate.mean if aggregate else None
            record[f"{column.key}_std"] = aggregate.std if aggregate else None
            record[f"{column.key}_standard_error"] = aggregate.standard_error if aggregate else None
            record[f"{column.key}_n"] = aggregate.n if aggregate else 0
            record[f"{column.key}_rank"] = aggregate.rank if aggregate else None
            if any(other.metrics[column.key].interval for other in board.rows if column.key in other.metrics):
                low, high = (aggregate.interval if aggregate else None) or (None, None)
                record |= {f"{column.key}_low": low, f"{column.key}_high": high}
                record[f"{column.key}_n"] = aggregate.n_observations if aggregate else 0
        records.append(record)
    frame = pd.DataFrame(records)
    kinds = {
        f"{column.key}{suffix}": kind
        for column in board.columns
        for suffix, kind in (
            *((end, "float64") for end in ("", "_std", "_standard_error", "_low", "_high")),
            ("_rank", "Int64"),
        )
    }
    # In one step: pandas warns, in the user's terminal, about frames that are built column by column.
    return frame.astype({name: kind for name, kind in kinds.items() if name in frame.columns})


def board_json(board: Board) -> dict[str, Any]:
    """Return the board as JSON content: dictionaries, lists, strings, finite numbers, booleans, None."""
    content: dict[str, Any] = _jsonable(dataclasses.asdict(board))
    return content


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
