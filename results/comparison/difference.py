"""Difference of one metric between two paired rows, with the interval that fits what the metric is measured over."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from results.boards.board import LARGEST, Column
from results.boards.columns import COSTS
from results.comparison.group_pairs import group_blocks
from results.comparison.image_pairs import ImagePairs
from results.comparison.intervals import Block, Interval, clustered, student, with_sampling_error
from results.comparison.metric_families import affine_of, family_name, member_under_test
from results.comparison.seed_pairs import Pairing
from results.comparison.unit_clusters import UnitClusters, UnitReader
from results.comparison.unit_values import UNIT_VALUES
from results.store.records import grouped

#: Description of a pairing in which only the spread over seeds is paired.
INDEPENDENT_ERRORS = "standard errors of both sides added as if they were independent"

#: Activations are float32 and scores are sums of thousands of them: smaller differences are rounding.
ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """One metric of A minus that of B.

    Attributes:
        column: the metric, its parameters, unit and direction.
        a: mean of A over the shared seeds; in the unit of the column, as all of these.
        b: mean of B.
        difference: a - b.
        low: lower end of the interval; None if the error is unknown.
        high: upper end of the interval.
        p: two-sided p-value for no difference; None if it is not tested.
        tested_as: metric of the same family that is tested in its place; None if there is none.
        p_holm: corrected for all metrics that were tested.
        n_seeds: pairs of seeds.
        n_clusters: number of resampled neurons or units; None if only the seeds vary.
        paired: description of the pairing and the resampling.
        better: "a" or "b" if the corrected p is below 1 - level, else None.
    """

    column: Column
    a: float
    b: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None = None
    n_seeds: int
    n_clusters: int | None
    paired: str
    tested_as: str | None = None
    better: str | None = None


class Sampling(NamedTuple):
    """Settings of the resampling."""

    level: float
    n_resamples: int
    seed: int
    within_cells: bool = False
    """give a single pair of seeds an interval, from the errors within its cells alone"""


DEFAULT_SAMPLING = Sampling(level=0.95, n_resamples=2000, seed=0)

_Scores = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
"""(column key, "a" or "b") -> scores, with their pair of seeds as ``index``"""


class PairedScores:
    """Scores of the paired cells of two rows, with the sources of their errors."""

    def __init__(
        self,
        units: UnitReader,
        pairing: Pairing,
        sampling: Sampling,
        by_cell: Mapping[str, Sequence[Mapping[str, Any]]],
    ) -> None:
        """Read nothing yet.

        Args:
            units: reader of the store's units.
            by_cell: cell id -> its scores.
        """
        self.pairing, self.sampling, self.by_cell = pairing, sampling, by_cell
        sides = (pairing.b, pairing.a) if pairing.turned else (pairing.a, pairing.b)
        names = ("B", "A") if pairing.turned else ("A", "B")
        self.units = UnitClusters(units, *sides, itself=pairing.itself, names=names)
        self.images = ImagePairs(units.store, *sides, itself=pairing.itself)

    def differences(self, columns: Sequence[Column], scores: _Scores) -> tuple[list[Difference], list[Column]]:
        """Return the difference of each column, in order, and the columns that are undefined for a cell.

        Of each family of metrics, one member is tested.
        """
        measured: dict[str, Difference] = {}
        available = [(column.metric, column.version) for column in columns]
        # Affine companions follow from their parents.
        for column in sorted(columns, key=lambda column: affine_of(column.metric, column.version) is not None):
            a, b = (grouped(scores[column.key, side], lambda score: score["index"]) for side in "ab")
            difference = self._difference(column, a, b, measured)
            if difference is None:
                continue
            tested = member_under_test(column.metric, column.version, available)
            if tested != column.metric and difference.column.direction != "none":
                difference = dataclasses.replace(difference, p=None, tested_as=tested)
            measured[column.key] = difference
        present = [measured[column.key] for column in columns if column.key in measured]
        return present, [column for column in columns if column.key not in measured]

    def _difference(
        self,
        column: Column,
        a: Mapping[int, Sequence[Mapping[str, Any]]],
        b: Mapping[int, Sequence[Mapping[str, Any]]],
        measured: Mapping[str, Difference],
    ) -> Difference | None:
        shared = sorted(set(a) & set(b))
        first, second = (np.array([_mean(side[index]) for index in shared]) for side in (a, b))
        # False for NaN.
        if not shared or not (np.abs([first, second]) <= LARGEST).all():
            return None
        by = f"{len(shared)} {self.pairing.by}{'s' if len(shared) != 1 else ''} paired"
        estimate = float(np.mean(first - second))
        blocks: list[Block] = []
        if (derived := self._derived(column, estimate, measured)) is not None:
            interval, description = derived
        # The spread over seeds of a single pair is unknown, and an interval without it would be too narrow.
        elif len(shared) == 1 and not self.pairing.itself and not self.sampling.within_cells:
            interval, description = Interval(None, None, None), f"{by}; one pair gives no interval"
        else:
            blocks, clustering = self._blocks(column.metric, shared, (a, b), (first, second))
            if blocks:
                interval, description = self._clustered(blocks, len(shared), column), f"{by}; {clustering}"
            else:
                interval, text = self._from_scores(
                    column, first - second, [a[i] for i in shared], [b[i] for i in shared]
                )
                description = by + text
        if 0 < abs(estimate) <= ROUNDING * max(1.0, abs(float(first.mean())), abs(float(second.mean()))):
            description += "; equal up to rounding, not tested"
            interval = interval._replace(p=None)
        return Difference(
            column=column,
            a=float(first.mean()),
            b=float(second.mean()),
            difference=estimate,
            low=interval.low,
            high=interval.high,
            # A metric without a direction is not a hypothesis, nor is a cost: they must not affect the correction.
            p=interval.p if column.direction != "none" and column.metric not in COSTS else None,
            n_seeds=len(shared),
            n_clusters=sum(len(block.sums) for block in blocks) or None,
            paired=description,
        )

    def _blocks(
        self,
        metric: str,
        shared: Sequence[int],
        scores: tuple[Mapping[int, Sequence[Mapping[str, Any]]], Mapping[int, Sequence[Mapping[str, Any]]]],
        values: tuple[np.ndarray, np.ndarray],
    ) -> tuple[list[Block], str]:
        """Return the clusters of images or units that are resampled, and their description; none if none is stored."""
        turned = -1 if self.pairing.turned else 1
        source = self.units if metric in UNIT_VALUES else self.images
        blocks, description = source.blocks(metric, shared, *values[::turned])
        if blocks:
            return blocks, description
        first, second = scores[::turned]
        return group_blocks(first, second, shared)

    def _clustered(self, blocks: Sequence[Block], n_seeds: int, column: Column) -> Interval:
        level, n_resamples = self.sampling[:2]
        _, interval = clustered(
            blocks, n_seeds, level=level, n_resamples=n_resamples, generator=self._generator(column.metric)
        )
        if self.pairing.turned and interval.low is not None and interval.high is not None:
            return Interval(-interval.high + 0.0, -interval.low + 0.0, interval.p)
        return interval

    def _from_scores(
        self,
        column: Column,
        differences: np.ndarray,
        a: Sequence[Sequence[Mapping[str, Any]]],
        b: Sequence[Sequence[Mapping[str, Any]]],
    ) -> tuple[Interval, str]:
        """Return the interval of differences (T,) from their spread over seeds and the scores' own standard errors."""
        level, n_resamples = self.sampling[:2]
        # All seeds are evaluated on the same images, so seeds do not reduce the error of a score within its cell.
        errors = [_mean_error(side) for side in (a, b)] if not self.pairing.itself else []
        side_errors = [error for error in errors if error is not None]
        if len(differences) == 1 and len(side_errors) < len(errors):
            # The error of one side alone would make the other one exact.
            return Interval(None, None, None), "; the error of a side is unknown: no interval"
        if any(side_errors):
            turned = -1 if self.pairing.turned else 1
            interval = with_sampling_error(
                turned * differences,
                math.hypot(*side_errors),
                level=level,
                n_resamples=n_resamples,
                generator=self._generator(column.metric),
            )
            if self.pairing.turned and interval.low is not None and interval.high is not None:
                interval = Interval(-interval.high + 0.0, -interval.low + 0.0, interval.p)
            return interval, f"; {INDEPENDENT_ERRORS}"
        interval = student(differences, level)
        return interval, ", all differences equal: no interval" if interval.low is None else ""

    def _derived(
        self, column: Column, estimate: float, measured: Mapping[str, Difference]
    ) -> tuple[Interval, str] | None:
        """Return the interval of an affine companion from its parent's; None if it has to be estimated by itself."""
        affine = affine_of(column.metric, column.version)
        parents = [entry for entry in measured.values() if affine and entry.column.metric == affine.parent]
        if affine is None or len(parents) != 1:
            return None
        slopes = []
        for cell in {
            cell["cell_id"]: None for side in (self.pairing.a, self.pairing.b) for group in side for cell in group
        }:
            values = {score["metric"]: score["value"] for score in self.by_cell.get(cell, [])}
            try:
                slopes.append(float(affine.slope(values)))
            except (KeyError, ZeroDivisionError, TypeError):
                return None
        parent, slope = parents[0], float(np.mean(slopes))
        same = np.allclose(slopes, slope, rtol=1e-6)
        if not same or not math.isclose(slope * parent.difference, estimate, rel_tol=1e-6, abs_tol=1e-9):
            return None
        ends = [None if end is None else slope * end for end in (parent.low, parent.high)]
        low, high = ends if slope > 0 else ends[::-1]
        return Interval(low, high, parent.p), f"{parent.paired}; follows from {affine.parent}"

    def _generator(self, metric: str) -> np.random.Generator:
        return np.random.default_rng([self.sampling.seed, *family_name(metric).encode()])


def _mean(scores: Sequence[Mapping[str, Any]]) -> float:
    return float(np.mean([float(score["value"]) for score in scores]))


def _mean_error(groups: Sequence[Sequence[Mapping[str, Any]]]) -> float | None:
    """Return the mean standard error of scores; None if one has none."""
    errors = [score["uncertainty"] for group in groups for score in group]
    if any(error is None or not 0 <= error <= LARGEST for error in errors):
        return None
    return float(np.mean(errors))
