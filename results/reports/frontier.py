"""Frontiers of methods: the settings of one method as one curve, such as R2 over L0, and the area under its envelope.

A curve is all rows of a board that share a method and a group: they differ in their configuration, and in nothing that
boards keep apart. Cells of sweeps are included (docs/aggregate.md).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from results.boards.board import Board, BoardKey, Column, Row
from results.boards.families import GROUPS
from results.boards.frontier_area import Envelope, area, envelope, shared_range
from results.boards.lead_columns import column_name, unit_text
from results.boards.mean_intervals import Variance, reach
from results.boards.seeds import Seeds, averaged, seeds_of
from results.boards.trials import marked
from results.comparison.leaderboard import leaderboard
from results.errors import StoreError
from results.nearest_names import alternatives
from results.store.records import grouped, records_of
from results.tables import Table
from results.visible_text import names_text

if TYPE_CHECKING:
    from results.store import Store

X, Y = "l0", "r2"


class CurvePoint(NamedTuple):
    """One setting of a method: a row of the board, its cost and its value."""

    row: Row
    x: float
    y: float


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
        n_seeds: seeds that all settings share.
        reason: why there is no area, or no interval; "" if both exist.
    """

    method: str
    title: str
    group: str
    points: tuple[CurvePoint, ...]
    envelope: Envelope | None
    area: float | None = None
    interval: tuple[float, float] | None = None
    n_seeds: int = 0
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
        _of_board(board, across, up, limits, methods, seeds)
        for board, across, up in pairs
        if across is not None and up is not None
    ]


def _column(board: Board, name: str) -> Column | None:
    candidates = board.columns_called([name])
    return max(candidates, key=lambda c: sum(c.key in row.metrics for row in board.rows)) if candidates else None


def _of_board(
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
    measured = [_measured(curve, x, y, chosen, seeds) for curve in curves if curve.points]
    order = sorted(
        measured,
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
    curve: Curve, x: Column, y: Column, limits: tuple[float, float] | None, seeds: Mapping[str, Seeds]
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
    measured = curve._replace(area=mean, n_seeds=len(shared))
    if len(shared) < 2:
        return measured._replace(reason="no interval: its settings do not share two seeds")
    areas = [_area_of_seed(curve, seed, values, costs, limits) for seed in shared]
    variances = [Variance(float(np.var(areas, ddof=1)) / len(areas), len(areas) - 1)]
    errors = [point.row.metrics[y.key].standard_error for point in curve.points]
    if all(error is not None for error in errors):
        # All settings are measured on the same images, so their errors add up as if they were one.
        of_corners = np.array([errors[number] for number in curve.envelope.points], dtype=float)
        variances.append(Variance(area(curve.envelope._replace(y=of_corners), *limits) ** 2, math.inf))
    half = reach(variances)
    if not half:
        return measured._replace(reason="no interval: its seeds are equal, and no error is known")
    return measured._replace(interval=(mean - half, mean + half))


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


def table(frontier: BoardFrontier) -> Table:
    """Return the curves of a board as a table of text: method, settings, range of costs, area and interval."""
    x, y = frontier.x, frontier.y
    unit = f" ({unit_text(y)})" if unit_text(y) else ""
    title = f"{marked(frontier.board.title, frontier.board)}: {column_name(y)} over {column_name(x)}"
    header = ["method", "group", "settings", "on the envelope", f"{x.key} from", "to", f"area{unit} ↑"]
    header += ["95 % interval", "seeds"]
    rows = [_line(curve, frontier) for curve in frontier.curves]
    notes = [_limits_note(frontier)]
    for reason, curves in grouped([curve for curve in frontier.curves if curve.reason], lambda c: c.reason).items():
        notes.append(f"{names_text(curve.title for curve in curves)}: {reason}")
    if frontier.absent:
        notes.append(f"without {x.key} above 0 or without {y.key}: {names_text(frontier.absent)}")
    for curve in frontier.curves:
        if curve.area is not None:
            texts = (f"{_setting(p.row, curve)} {p.x:.4g}, {y.text(p.y)}" for p in curve.points)
            notes.append(f"{curve.title}, {x.key} and {y.name_with_unit} of its settings: {'; '.join(texts)}")
    notes.append(
        f"area: mean height of the upper envelope over log {x.key}, in straight lines between settings; interval: from "
        "the spread over seeds and the error within a cell"
    )
    return Table(title, header, rows, (False, False, *[True] * (len(header) - 2)), notes)


def _limits_note(frontier: BoardFrontier) -> str:
    if frontier.limits is None:
        return f"No limits: fewer than one method has a curve, or the curves share no range of {frontier.x.key}."
    low, high = frontier.limits
    what = "as given" if frontier.is_given else "the range that all methods with a curve share"
    return f"limits: {frontier.x.key} {low:.4g} to {high:.4g}, {what}"


def _line(curve: Curve, frontier: BoardFrontier) -> list[str]:
    y, (low, high) = frontier.y, curve.range
    return [
        curve.title,
        curve.group,
        str(len(curve.points)),
        str(len(set(curve.envelope.points))) if curve.envelope else "-",
        f"{low:.4g}",
        f"{high:.4g}",
        "-" if curve.area is None else y.text(curve.area),
        "-" if curve.interval is None else " to ".join(map(y.text, curve.interval)),
        str(curve.n_seeds) if curve.area is not None else "-",
    ]


def _setting(row: Row, curve: Curve) -> str:
    """Return what distinguishes a row from the others of its curve: its title without the label, and its flags."""
    title = row.title_with_flags
    inner = title.removeprefix(curve.title).strip() if len(curve.points) > 1 else title
    return f"{inner or title}:"


def table_json(frontier: BoardFrontier) -> dict[str, Any]:
    """Return the curves of a board as JSON content; values as stored: fractions, not percent."""
    board = frontier.board
    return {
        **{name: getattr(board, name) for name in BoardKey._fields},
        "title": board.title,
        "x": frontier.x.key,
        "y": frontier.y.key,
        "limits": frontier.limits and list(frontier.limits),
        "limits_given": frontier.is_given,
        "absent": list(frontier.absent),
        "curves": [_curve_json(curve) for curve in frontier.curves],
    }


def _curve_json(curve: Curve) -> dict[str, Any]:
    corners = set(curve.envelope.points) if curve.envelope else set()
    return {
        "method": curve.method,
        "title": curve.title,
        "group": curve.group,
        "area": curve.area,
        "low": curve.interval and curve.interval[0],
        "high": curve.interval and curve.interval[1],
        "n_seeds": curve.n_seeds,
        "reason": curve.reason,
        "points": [
            {
                "title": point.row.title,
                "config_id": point.row.config_id,
                "flags": [flag.name for flag in point.row.flags],
                "x": point.x,
                "y": point.y,
                "on_envelope": number in corners,
            }
            for number, point in enumerate(curve.points)
        ],
    }
