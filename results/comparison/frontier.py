"""Frontiers of methods: the settings of one method as one curve, such as R2 over L0, and the area under its envelope.

A curve is all rows of a board that share a method and a group: they differ in their configuration, and in nothing that
boards keep apart. Cells of sweeps are included (docs/aggregate.md).

With the corners of the envelope fixed, an area is a weighted sum of the corners' values, so its influences (see
:mod:`results.comparison.row_errors`) are the same sum of theirs: errors of the images that all settings and all methods
share are added up within a curve, and cancel in the difference of two.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from results.boards.board import Board, Column, Row
from results.boards.families import GROUPS
from results.boards.frontier_area import Envelope, area, envelope, shared_range
from results.boards.mean_intervals import Variance, reach
from results.boards.seeds import Seeds, averaged, seeds_of
from results.comparison.leaderboard import leaderboard
from results.comparison.row_errors import RowError, RowErrors, name_of
from results.errors import StoreError
from results.nearest_names import alternatives
from results.store.records import grouped, records_of

if TYPE_CHECKING:
    from results.store import Store

X, Y = "l0", "r2"
#: Intervals that are narrower than this share of the area are rounding of equal values.
_ROUNDING = 1e-12


class CurvePoint(NamedTuple):
    """One setting of a method: a row of the board, its cost and its value."""

    row: Row
    x: float
    y: float


class AreaError(NamedTuple):
    """Error of an area within cells, for a curve whose seeds are fixed.

    Attributes:
        influences: (G,) influences of what all rows share, such as groups of images; empty if they are not stored.
        space: what they are of.
        spread: standard error that is not in them; None if it is not known.
    """

    influences: np.ndarray
    space: str
    spread: float | None

    def variances(self, other: AreaError | None = None) -> list[Variance]:
        """Return the variances of the area, or of its difference from another one."""
        sides = [self] if other is None else [self, other]
        spreads = [Variance(side.spread**2, math.inf) for side in sides if side.spread is not None]
        paired = len(sides) == 2 and (self.space, len(self.influences)) == (sides[1].space, len(sides[1].influences))
        parts = [side.influences for side in sides]
        parts = [parts[0] - parts[1]] if paired else parts
        return spreads + [Variance(float((part**2).sum()), len(part) - 1) for part in parts if len(part) > 1]


class Curve(NamedTuple):
    """Settings of one method.

    Attributes:
        method: registry name.
        title: label of the rows if they share one, else the registry name.
        group: "method", "control" or "virtual".
        points: settings with both metrics, by rising cost.
        envelope: upper envelope; None with fewer than two different costs.
        area: mean height of the envelope between the limits, in the unit of the value; None if it is undefined.
        interval: its 95 % interval; None if it is not known.
        areas: seed that all settings share -> area of its values.
        error: of the area within cells; None without an area.
        behind: area minus that of the method with the largest; None for that one, and without an area.
        behind_interval: 95 % interval of `behind`, paired by seed; None if it is not known.
        reason: why there is no area, or no interval; "" if both exist.
    """

    method: str
    title: str
    group: str
    points: tuple[CurvePoint, ...]
    envelope: Envelope | None
    area: float | None = None
    interval: tuple[float, float] | None = None
    areas: Mapping[Seeds, float] = {}
    error: AreaError | None = None
    behind: float | None = None
    behind_interval: tuple[float, float] | None = None
    reason: str = ""

    @property
    def range(self) -> tuple[float, float]:
        """Least and greatest cost."""
        return self.points[0].x, self.points[-1].x


class BoardFrontier(NamedTuple):
    """Curves of one board.

    Attributes:
        x: column of the costs.
        y: column of the values.
        limits: costs between which areas are compared; None if the curves share no range.
        is_given: true if the user gave the limits; else they are the range that all methods with a curve share.
        curves: by group, then by falling area; those without an area last.
        absent: titles of methods of which no row has both metrics, with a cost above 0.
    """

    board: Board
    x: Column
    y: Column
    limits: tuple[float, float] | None
    is_given: bool
    curves: tuple[Curve, ...]
    absent: tuple[str, ...] = ()


def frontiers(
    store: Store,
    *,
    x: str = X,
    y: str = Y,
    limits: tuple[float, float] | None = None,
    methods: Collection[str] = (),
    suite: str | None = None,
    backbone: str | None = None,
    site: str | None = None,
) -> list[BoardFrontier]:
    """Return the curves of all boards that have both metrics.

    Args:
        store: the results.
        x: metric of the cost; its values are positive, and less is better or neither is.
        y: metric of the value, of which more is better.
        limits: costs between which areas are computed; None: the range that all methods with a curve share, controls
            and virtual methods aside.
        methods: only these (registry names or labels); empty: all.
        suite, backbone, site: of the cells; None: all. Cells of sweeps are included.

    Raises:
        StoreError: no board has a metric, its direction is wrong, the limits are no range, or there is no such method.
    """
    if limits is not None and not 0 < limits[0] < limits[1] < math.inf:
        raise StoreError(f"The limits {limits[0]:g}:{limits[1]:g} are no range: use LOW:HIGH with 0 < LOW < HIGH.")
    cells = store.cells(suite=suite, backbone=backbone, site=site)
    boards = leaderboard(store, suite=suite, backbone=backbone, site=site, cell_ids=list(cells["cell_id"]))
    pairs = [(board, _column(board, x), _column(board, y)) for board in boards]
    for name, position in ((x, 1), (y, 2)):
        if boards and not any(pair[position] for pair in pairs):
            metrics = sorted({column.metric for board in boards for column in board.columns})
            raise StoreError(f"No board here has the metric {name!r}. {alternatives(name, metrics)}")
    rows = [row for board in boards for row in board.rows]
    for method in methods:
        if not any(method in (row.method, row.label) for row in rows):
            names = sorted({row.method for row in rows})
            raise StoreError(f"No row here is of the method {method!r}. {alternatives(method, names)}")
    seeds = {str(cell["cell_id"]): seeds_of(cell) for cell in records_of(cells) if cell["status"] == "finished"}
    return [
        _of_board(store, board, across, up, limits, methods, seeds)
        for board, across, up in pairs
        if across is not None and up is not None
    ]


def _column(board: Board, name: str) -> Column | None:
    candidates = board.columns_called([name])
    return max(candidates, key=lambda c: sum(c.key in row.metrics for row in board.rows)) if candidates else None


def _of_board(
    store: Store,
    board: Board,
    x: Column,
    y: Column,
    limits: tuple[float, float] | None,
    methods: Collection[str],
    seeds: Mapping[str, Seeds],
) -> BoardFrontier:
    if x.direction == "higher":
        raise StoreError(f"{x.key} is no cost: more of it is better. Choose a metric such as l0 as x.")
    if y.direction != "higher":
        raise StoreError(f"More {y.key} is not better: choose a metric such as r2 as y.")
    rows = [row for row in board.rows if not methods or row.method in methods or row.label in methods]
    curves = [_curve(members, x, y) for members in grouped(rows, lambda row: (row.method, row.group)).values()]
    spans = [curve.range for curve in curves if curve.group == "method" and curve.envelope is not None]
    chosen = limits or shared_range(spans)
    errors = RowErrors(store, board).of(y) if chosen is not None else {}
    measured = [_measured(curve, x, y, chosen, seeds, errors) for curve in curves if curve.points]
    best = max(
        (curve for curve in measured if curve.group == "method" and curve.area is not None),
        key=lambda curve: curve.area or 0.0,
        default=None,
    )
    order = sorted(
        [curve if best is None else _compared(curve, best) for curve in measured],
        key=lambda c: (GROUPS.index(c.group), c.area is None, -(c.area or 0.0), -len(c.points), c.title),
    )
    absent = tuple(curve.title for curve in curves if not curve.points)
    return BoardFrontier(board, x, y, chosen, limits is not None, tuple(order), absent)


def _curve(rows: Sequence[Row], x: Column, y: Column) -> Curve:
    """Return the curve of rows of one method, without its area."""
    points = [
        CurvePoint(row, row.metrics[x.key].mean, row.metrics[y.key].mean)
        for row in rows
        if x.key in row.metrics and y.key in row.metrics and row.metrics[x.key].mean > 0
    ]
    points.sort(key=lambda point: (point.x, point.y, point.row.title))
    labels = {row.label for row in rows}
    curve = Curve(
        rows[0].method, labels.pop() if len(labels) == 1 else rows[0].method, rows[0].group, tuple(points), None
    )
    if len(points) < 2 or not math.log(points[-1].x) - math.log(points[0].x) > 1e-9:
        return curve
    return curve._replace(envelope=envelope([point.x for point in points], [point.y for point in points]))


def _measured(
    curve: Curve,
    x: Column,
    y: Column,
    limits: tuple[float, float] | None,
    seeds: Mapping[str, Seeds],
    errors: Mapping[str, RowError | None],
) -> Curve:
    """Return a curve with its area, its interval, or the reason why there is none."""
    if len(curve.points) < 2:
        return curve._replace(reason="one setting is no curve")
    low, high = curve.range
    if curve.envelope is None:
        return curve._replace(reason=f"all settings have the same {x.key}")
    if limits is None:
        return curve._replace(reason=f"the methods share no range of {x.key}: give limits, or fewer methods")
    # The ends of a shared range are ends of a curve.
    if limits[0] < low * (1 - 1e-9) or limits[1] > high * (1 + 1e-9):
        return curve._replace(reason=f"its {x.key} is {low:.4g} to {high:.4g}, and not all of the limits")
    mean = area(curve.envelope, *limits)
    values, costs = ([_by_seed(point.row, column, seeds) for point in curve.points] for column in (y, x))
    shared = sorted(set.intersection(*map(set, values)))
    measured = curve._replace(
        area=mean,
        areas={seed: _area_of_seed(curve, seed, values, costs, limits) for seed in shared},
        error=_area_error(curve.envelope, limits, [point.row for point in curve.points], y, errors),
    )
    if len(shared) < 2:
        return measured._replace(reason="no interval: its settings do not share two seeds")
    assert measured.error is not None
    half = reach([_seed_variance(list(measured.areas.values())), *measured.error.variances()])
    if half <= _ROUNDING * abs(mean):
        return measured._replace(reason="no interval: its seeds are equal, and no error is known")
    return measured._replace(interval=(mean - half, mean + half))


def _compared(curve: Curve, best: Curve) -> Curve:
    """Return a curve with its difference from the best one, and the interval if both share two seeds."""
    if curve.area is None or best.area is None or curve is best:
        return curve
    difference, largest = curve.area - best.area, max(abs(curve.area), abs(best.area))
    curve = curve._replace(behind=difference)
    shared = sorted(set(curve.areas) & set(best.areas))
    if len(shared) < 2 or curve.error is None or best.error is None:
        return curve
    differences = [curve.areas[seed] - best.areas[seed] for seed in shared]
    half = reach([_seed_variance(differences), *curve.error.variances(best.error)])
    if half <= _ROUNDING * largest:
        return curve
    return curve._replace(behind_interval=(difference - half, difference + half))


def _seed_variance(values: Sequence[float]) -> Variance:
    """Return the variance of a mean over seeds."""
    return Variance(float(np.var(values, ddof=1)) / len(values), len(values) - 1)


def _area_error(
    curve: Envelope,
    limits: tuple[float, float],
    rows: Sequence[Row],
    y: Column,
    errors: Mapping[str, RowError | None],
) -> AreaError:
    """Return the error of an area within cells.

    Without influences that all corners share, the errors of the corners add up as if they were one: all are measured on
    the same images.
    """
    corners = [rows[number] for number in curve.points]
    of_corners = [errors.get(name_of(row)) for row in corners]
    shared = [error for error in of_corners if error is not None and error.space and len(error.influences) > 1]
    if len(shared) == len(corners) and len({(error.space, len(error.influences)) for error in shared}) == 1:
        by_group = np.array([error.influences for error in shared]).T
        influences = np.array([area(curve._replace(y=of_group), *limits) for of_group in by_group])
        rest = np.sqrt([error.variance for error in shared])
        return AreaError(influences, shared[0].space, area(curve._replace(y=rest), *limits))
    standard = [row.metrics[y.key].standard_error for row in corners]
    if any(error is None for error in standard):
        return AreaError(np.zeros(0), "", None)
    return AreaError(np.zeros(0), "", area(curve._replace(y=np.array(standard, dtype=float)), *limits))


def _area_of_seed(
    curve: Curve,
    seed: Seeds,
    values: Sequence[Mapping[Seeds, float]],
    costs: Sequence[Mapping[Seeds, float]],
    limits: tuple[float, float],
) -> float:
    """Return the area of one seed's values.

    At its own costs: a seed with a larger L0 has a larger R2, and lies on the same curve. Beyond them, within the
    limits, its ends are level. At the mean costs if a cost is not known by seed, or not positive.
    """
    x = [of_seeds.get(seed, 0.0) for of_seeds in costs]
    if min(x) <= 0:
        x = [point.x for point in curve.points]
    return area(envelope(x, [of_seeds[seed] for of_seeds in values]), *limits)


def _by_seed(row: Row, column: Column, seeds: Mapping[str, Seeds]) -> dict[Seeds, float]:
    """Return the values of a row by seed; none if a value is undefined, or is not of one seed."""
    aggregate = row.metrics[column.key]
    of_row = sorted(averaged({seeds[cell_id] for cell_id in row.cell_ids if cell_id in seeds}))
    is_complete = len(of_row) == len(aggregate.values) and not aggregate.of_pairs and aggregate.interval is None
    return dict(zip(of_row, aggregate.values, strict=True)) if is_complete else {}
