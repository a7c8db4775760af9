"""Known components of the error of a row's mean, with the part that it shares with the other rows of its board.

All methods of a board are measured on the same images, and all splits have the same neurons. So their errors are in
part common, and cancel in ranks and on the front. An influence is the contribution of one image, one group of images or
one neuron to the error of a mean: rows are compared influence by influence, as `harness compare` does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from results.boards.board import HALF_WIDTH, Aggregate, Board, Column, Row
from results.boards.seeds import averaged, seeds_of
from results.boards.share_intervals import images_behind
from results.comparison.group_pairs import group_values
from results.comparison.unit_clusters import Part, unit_parts
from results.comparison.unit_values import UNIT_VALUES
from results.store.outcomes import ImageOutcome, outcomes
from results.store.records import records_of
from results.store.store import decoded

if TYPE_CHECKING:
    from results.store import Store

#: Largest number of influences that are drawn; more are added up in this many groups, which keeps their variance.
MOST_INFLUENCES = 2000


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowError:
    """Mean of a row and the components of its error, in the metric's unit.

    Attributes:
        mean: the mean.
        space: what the influences are of ("images", "groups", "neurons"); "" if the row shares no error.
        influences: (G,) influences, zero-mean; their squares add up to the variance of the mean.
        variance: variance that is not shared with other rows.
        between: variance of the mean, estimated from its values in the seeds; 0 for pooled values.
        within: part of `between` that the other components have already.
        freedom: degrees of freedom of `between`.
        n_images: number of images that would give a share the error of its influences; 0 if the mean is not a share of
            images (`results.boards.share_intervals`).
        known: false if nothing is known about the error.
    """

    mean: float
    space: str = ""
    influences: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    variance: float = 0.0
    between: float = 0.0
    within: float = 0.0
    freedom: int = 0
    n_images: float = 0.0
    known: bool = True


class RowErrors:
    """Reader of the errors of a board's rows; reads each column once."""

    def __init__(self, store: Store, board: Board) -> None:
        self.store, self.board = store, board
        cells = store.query(
            "SELECT cell_id, token_seed, init_seed FROM cells "
            "WHERE status = 'finished' AND cell_id IN (SELECT unnest(?::VARCHAR[])) "
            "ORDER BY started_at NULLS LAST, cell_id",
            [sorted({cell_id for row in board.rows for cell_id in row.cell_ids})],
        )
        self._cells = {str(cell["cell_id"]): cell for cell in records_of(cells)}
        self._columns: dict[str, dict[str, RowError | None]] = {}

    def of(self, column: Column) -> Mapping[str, RowError | None]:
        """Return the name of each row (`name_of`) -> its error.

        It is None if the row lacks the metric, or has it for one seed only: the spread over seeds is then unknown, and
        an error without it would make the row look surest of all.
        """
        if column.key not in self._columns:
            self._columns[column.key] = self._read(column)
        return self._columns[column.key]

    def _read(self, column: Column) -> dict[str, RowError | None]:
        frame = decoded(
            self.store.query(
                "SELECT cell_id, params, value, details FROM scores "
                "WHERE metric = ? AND version = ? AND cell_id IN (SELECT unnest(?::VARCHAR[]))",
                [column.metric, column.version, sorted(self._cells)],
            )
        )
        scores = {
            str(score["cell_id"]): score
            for score in records_of(frame)
            if (score["params"] or {}) == dict(column.params)
        }
        cells_of = {name_of(row): self._averaged(row, scores) for row in self.board.rows}
        ids = sorted({cell_id for cell_ids in cells_of.values() for cell_id in cell_ids})
        by_image = outcomes(self.store, ids, column.metric) if ids else {}
        units = unit_parts(self.store, ids, UNIT_VALUES[column.metric]) if column.metric in UNIT_VALUES else {}
        errors: dict[str, RowError | None] = {}
        for row in self.board.rows:
            aggregate = row.metrics.get(column.key)
            if aggregate is None:
                errors[name_of(row)] = None
            elif aggregate.interval is not None or aggregate.pairs_error is not None:
                errors[name_of(row)] = pooled_error(aggregate)
            elif aggregate.n < 2:
                errors[name_of(row)] = None
            else:
                seeds = RowError(
                    mean=aggregate.mean, between=(aggregate.std or 0.0) ** 2 / aggregate.n, freedom=aggregate.n - 1
                )
                if not (cell_ids := cells_of[name_of(row)]):
                    # Not a score of the store, such as the time of a fit: only the values over seeds are known.
                    errors[name_of(row)] = _without_values(seeds, aggregate)
                    continue
                values = [float(scores[cell_id]["value"]) for cell_id in cell_ids]
                errors[name_of(row)] = (
                    _with_images(seeds, values, [by_image.get(cell_id) for cell_id in cell_ids], row, column.metric)
                    or _with_groups(seeds, [scores[cell_id] for cell_id in cell_ids])
                    or _with_units(seeds, values, [units.get(cell_id) for cell_id in cell_ids])
                    or _without_values(seeds, aggregate)
                )
        return errors

    def _averaged(self, row: Row, scores: Mapping[str, Any]) -> list[str]:
        """Return the ids of the cells of a row's mean, by seed; of two with the same seeds, the newest."""
        by_seed = {
            seeds_of(self._cells[cell_id]): cell_id
            for cell_id in self._cells
            if cell_id in row.cell_ids and cell_id in scores
        }
        counted = averaged({seeds_of(cell) for cell_id, cell in self._cells.items() if cell_id in row.cell_ids})
        return [by_seed[seeds] for seeds in sorted(by_seed) if seeds in counted]


def name_of(row: Row) -> str:
    """Return the string that identifies a row and seeds its draws."""
    return f"{row.config_id}:{row.label}"


def pooled_error(aggregate: Aggregate) -> RowError:
    """Return the error of a value of several cells: from its interval, or from pairs of runs."""
    if aggregate.interval is not None:
        low, high = aggregate.interval
        return RowError(mean=aggregate.mean, variance=((high - low) / (2 * HALF_WIDTH)) ** 2)
    error, freedom = aggregate.pairs_error or (0.0, 0)
    return RowError(mean=aggregate.mean, between=error**2, freedom=freedom)


def _without_values(seeds: RowError, aggregate: Aggregate) -> RowError:
    """Return the error from the scores alone."""
    error = aggregate.standard_error
    has_error = seeds.between > 0 or error is not None
    return dataclasses.replace(seeds, variance=(error or 0.0) ** 2, known=has_error)


def _with_images(
    seeds: RowError, scores: Sequence[float], cells: Sequence[ImageOutcome | None], row: Row, metric: str
) -> RowError | None:
    """Return the error with an influence for each image; None if a cell has no outcomes, or they do not give its score.

    If few images differ from the others, their influences underestimate the error, so half the variance of one more
    image is added: two rows together have that of :mod:`results.comparison.image_pairs`. It is not added to lossless
    rows, whose predictions are equal. The agreement of a lossless row has no error if it is 1.
    """
    complete = [cell for cell in cells if cell is not None and cell.counted.any()]
    if len(complete) < len(cells) or len({len(cell.counted) for cell in complete}) != 1:
        return None
    if not np.allclose([cell.share for cell in complete], scores, rtol=1e-9, atol=1e-12):
        return None
    if row.is_lossless and metric == "agreement" and min(scores) == 1:
        return dataclasses.replace(seeds, between=0.0, freedom=0)
    influences = [(cell.positive - cell.share * cell.counted) / cell.counted.sum() for cell in complete]
    shared = _shared(seeds, "images", np.array(influences))
    n_images = int(np.any([cell.counted for cell in complete], axis=0).sum())
    # Without the correction of `_shared`, so that it is the number of images if all seeds agree.
    error = float(np.linalg.norm(np.mean(influences, axis=0)))
    return dataclasses.replace(
        shared,
        variance=0.0 if row.is_lossless else 0.5 / n_images**2,
        n_images=images_behind(seeds.mean, error, n_images) if 0 <= seeds.mean <= 1 else 0.0,
    )


def _with_groups(seeds: RowError, scores: Sequence[Mapping[str, Any]]) -> RowError | None:
    """Return the error with an influence for each group of images; None if a score has no jackknife values."""
    values = [group_values(score) for score in scores]
    complete = [value for value in values if value is not None]
    if len(complete) < len(values) or len({len(value) for value in complete}) != 1:
        return None
    influences = np.array([(value - value.mean()) / len(value) for value in complete])
    return _shared(seeds, "groups", influences)


def _shared(seeds: RowError, space: str, influences: np.ndarray) -> RowError:
    """Return the error with influences (T, G) that all rows share. The images of all seeds are the same."""
    size = influences.shape[1]
    correction = size / max(size - 1, 1)
    mean = influences.mean(axis=0)
    within = _within(influences, mean) * correction
    return dataclasses.replace(seeds, space=space, influences=_added_up(mean * np.sqrt(correction)), within=within)


def _within(influences: np.ndarray, mean: np.ndarray) -> float:
    """Return the part of the variance of the mean over T seeds that is due to influences (T, G) that differ."""
    n_seeds = len(influences)
    return float(((influences - mean) ** 2).sum()) / (n_seeds * max(n_seeds - 1, 1))


def _with_units(seeds: RowError, scores: Sequence[float], cells: Sequence[Part | None]) -> RowError | None:
    """Return the error over units, or over neurons if every unit has one.

    None if a cell has no unit rows, or they do not give its score.
    """
    complete = [cell for cell in cells if cell is not None]
    if len(complete) < len(cells):
        return None
    if not np.allclose([values.mean() for _, values, _ in complete], scores, rtol=1e-5, atol=1e-7):
        return None
    has_parents = all((parents >= 0).all() for _, _, parents in complete)
    clusters = [parents if has_parents else names for names, _, parents in complete]
    present = np.unique(np.concatenate(clusters))
    influences = np.zeros((len(complete), len(present)))
    for number, ((_, values, _), of_units) in enumerate(zip(complete, clusters, strict=True)):
        position = np.searchsorted(present, of_units)
        influences[number] = np.bincount(position, weights=values - values.mean(), minlength=len(present)) / len(values)
    size = len(present)
    correction = size / max(size - 1, 1)
    mean = influences.mean(axis=0)
    within = _within(influences, mean) * correction
    if not has_parents:
        return dataclasses.replace(seeds, variance=float((mean**2).sum()) * correction, within=within)
    # A neuron has the same place in all rows that split it, whichever other neurons a row has.
    placed = np.bincount(present % MOST_INFLUENCES, weights=mean * np.sqrt(correction))
    return dataclasses.replace(seeds, space="neurons", influences=placed, within=within)


def _added_up(influences: np.ndarray) -> np.ndarray:
    """Return at most :data:`MOST_INFLUENCES` influences: those of a group add up to one."""
    if len(influences) <= MOST_INFLUENCES:
        return influences
    return np.bincount(np.arange(len(influences)) % MOST_INFLUENCES, weights=influences)
