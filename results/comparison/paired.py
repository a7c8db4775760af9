"""Paired comparison of two rows of a board: the difference of every metric that they share.

The statistics are explained, with their equations, in docs/comparing.md. Needs no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from results.boards.board import PLURALS, Board, Column, Row
from results.boards.build import EVIDENCE_PREFIX, FLOOR_PREFIX, boards_of
from results.boards.columns import COSTS, columns_of, variant_of, why_not
from results.boards.find_row import row_called, unknown_row
from results.boards.fit_seconds import attach_fit_seconds
from results.comparison.image_pairs import ImagePairs
from results.comparison.intervals import Block, Interval, clustered, holm, student
from results.comparison.seed_pairs import Pairing, paired_cells
from results.comparison.unit_clusters import UnitClusters
from results.errors import StoreError
from results.store.records import grouped, records_of

if TYPE_CHECKING:
    from results.store import Store

#: Activations are float32 and scores are sums of thousands of them: smaller differences are rounding.
ROUNDING = 1e-9

#: Scores of several cells together: they cannot be paired.
POOLED = ("win_rate", "stability", "stability_writer", "token_sensitivity")


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
    better: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Comparison of A and B on one board.

    Attributes:
        board: board of both rows.
        a: the row of A.
        b: the row of B.
        level: level of the intervals.
        n_resamples: number of bootstrap resamples.
        seed: seed of its draws.
        seeds: the pairs of seeds: "token seed 42", ...
        differences: in the board's order of metrics.
        refused: (metric, reason) of shared metrics that may not be compared.
        notes: important sentences for the reader.
    """

    board: Board
    a: Row
    b: Row
    level: float
    n_resamples: int
    seed: int
    seeds: tuple[str, ...]
    differences: tuple[Difference, ...]
    refused: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def compare(
    store: Store,
    a: str,
    b: str,
    *,
    backbone: str | None = None,
    site: str | None = None,
    metrics: Collection[str] | None = None,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> list[Comparison]:
    """Compare two rows on every board that has both.

    Args:
        a: title, label, configuration id (or its beginning) or method name.
        b: the same.
        backbone: only boards of this backbone.
        site: only boards of this site.
        metrics: only these; the correction is for the number of tests.
        level: level of the intervals; 1 - level is the threshold of `better`.
        n_resamples: number of bootstrap resamples.
        seed: seed of its draws.

    Raises:
        StoreError: an unknown name (with the nearest ones) or an ambiguous one, rows that are never on one board, share
            no seed, or share no comparable metric, each with the reason.
    """
    if not 0 < level < 1:
        raise StoreError(f"level is {level}; it must be between 0 and 1, such as 0.95.")
    if n_resamples < 100:
        raise StoreError(f"n_resamples is {n_resamples}; an interval needs at least 100, such as 2000.")
    cells, scores = store.cells(backbone=backbone, site=site), store.scores(backbone=backbone, site=site)
    boards = boards_of(cells, scores)
    candidates = [(board, row_called(board, a), row_called(board, b)) for board in boards]
    for index, name in ((1, a), (2, b)):
        if not any(candidate[index] for candidate in candidates):
            raise unknown_row(name, boards)
    shared_boards = [(board, row_a, row_b) for board, row_a, row_b in candidates if row_a and row_b]
    if not shared_boards:
        raise StoreError(_never_together(a, b, candidates))
    by_id = {cell["cell_id"]: cell for cell in records_of(cells)}
    measured = records_of(scores)
    costs = attach_fit_seconds(list(by_id.values()), measured).scores
    by_cell = grouped([*measured, *costs], lambda score: score["cell_id"])
    settings = _Settings(store, metrics, level, n_resamples, seed)
    comparisons, problems = [], []
    for board, row_a, row_b in shared_boards:
        try:
            comparisons.append(_compared(settings, board, row_a, row_b, by_id, by_cell))
        except StoreError as error:
            problems.append(str(error))
    if not comparisons:
        raise StoreError(" ".join(dict.fromkeys(problems)))
    return comparisons


@dataclasses.dataclass(frozen=True)
class _Settings:
    store: Store
    metrics: Collection[str] | None
    level: float
    n_resamples: int
    seed: int


def _compared(
    settings: _Settings,
    board: Board,
    a: Row,
    b: Row,
    by_id: Mapping[str, dict[str, Any]],
    by_cell: Mapping[str, list[dict[str, Any]]],
) -> Comparison:
    pairing, notes = paired_cells(a, b, by_id, board.layer_title)
    scores = [
        {**score, "side": side, "index": index, "variant": variant_of(score, cell)}
        for side, groups in (("a", pairing.a), ("b", pairing.b))
        for index, group in enumerate(groups)
        for cell in group
        for score in by_cell.get(cell["cell_id"], [])
        if score["value"] is not None and not score["metric"].startswith((FLOOR_PREFIX, EVIDENCE_PREFIX))
    ]
    columns, key_of, _ = columns_of(scores, board.evaluation_fingerprint)
    of_column = grouped(scores, lambda score: (key_of[score["metric"], score["variant"]], score["side"]))
    refused = _refused(scores)
    if settings.metrics is not None:
        _require_metrics(settings.metrics, columns, board.layer_title)
        columns = [column for column in columns if column.metric in settings.metrics]
        refused = [(metric, reason) for metric, reason in refused if metric in settings.metrics]
    sides_of = (pairing.b, pairing.a) if pairing.turned else (pairing.a, pairing.b)
    names = ("B", "A") if pairing.turned else ("A", "B")
    units = UnitClusters(settings.store, *sides_of, itself=pairing.itself, names=names)
    images = ImagePairs(settings.store, *sides_of)
    differences = []
    for column in columns:
        sides = [_means(of_column.get((column.key, side), [])) for side in "ab"]
        if not all(sides):
            continue
        difference = _difference(settings, column, sides[0], sides[1], pairing, (images, units))
        if difference is None:
            notes.append(f"{column.key} is not compared: it is undefined for a cell.")
        else:
            differences.append(difference)
    if not differences:
        reasons = "; ".join(f"{metric}: {reason}" for metric, reason in refused) or "they have no metric in common"
        raise StoreError(f"{a.title} and {b.title} cannot be compared on {board.layer_title}: {reasons}.")
    corrected = holm([difference.p for difference in differences])
    return Comparison(
        board=board,
        a=a,
        b=b,
        level=settings.level,
        n_resamples=settings.n_resamples,
        seed=settings.seed,
        seeds=pairing.names,
        differences=tuple(
            dataclasses.replace(difference, p_holm=p, better=_better(difference, p, 1 - settings.level))
            for difference, p in zip(differences, corrected, strict=True)
        ),
        refused=tuple(refused),
        notes=tuple(notes),
    )


def _means(scores: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Return pair of seeds -> mean of a column's scores over the cells of one side."""
    pairs = grouped(scores, lambda score: score["index"])
    return {index: float(np.mean([float(score["value"]) for score in group])) for index, group in pairs.items()}


def _better(difference: Difference, p_holm: float | None, threshold: float) -> str | None:
    if p_holm is None or p_holm >= threshold or not difference.difference or difference.column.direction == "none":
        return None
    return "a" if (difference.difference > 0) == (difference.column.direction == "higher") else "b"


def _require_metrics(metrics: Collection[str], columns: Sequence[Column], board_name: str) -> None:
    """Raise StoreError for a metric that neither row has, or that cannot be paired by seed."""
    metric_ids = sorted({column.metric for column in columns})
    absent = sorted(set(metrics) - set(metric_ids))
    if pooled := [metric for metric in absent if metric in POOLED]:
        raise StoreError(
            f"{pooled[0]} is a score of several cells, so it cannot be paired by seed; `harness leaderboard` shows "
            f"it with its interval. Metrics that can be paired: {', '.join(metric_ids)}."
        )
    if absent:
        raise StoreError(
            f"Neither row has the metric {absent[0]!r} on {board_name}. Available: {', '.join(metric_ids)}."
        )


def _difference(
    settings: _Settings,
    column: Column,
    a: Mapping[int, float],
    b: Mapping[int, float],
    pairing: Pairing,
    sources: tuple[ImagePairs, UnitClusters],
) -> Difference | None:
    shared = sorted(set(a) & set(b))
    first, second = (np.array([means[index] for index in shared]) for means in (a, b))
    if not shared or not (np.isfinite(first).all() and np.isfinite(second).all()):
        return None
    description = f"{len(shared)} {pairing.by}{'s' if len(shared) != 1 else ''} paired"
    estimate = float(np.mean(first - second))
    n_clusters: int | None = None
    blocks: list[Block] = []
    clustering = ""
    # The spread over seeds of a single pair is unknown, and an interval without it would be too narrow.
    if len(shared) > 1 or pairing.itself:
        for source in sources:
            turned = (second, first) if pairing.turned else (first, second)
            blocks, clustering = source.blocks(column.metric, shared, *turned)
            if blocks:
                break
    if blocks:
        generator = np.random.default_rng([settings.seed, *column.metric.encode()])
        _, interval = clustered(
            blocks, len(shared), level=settings.level, n_resamples=settings.n_resamples, generator=generator
        )
        if pairing.turned and interval.low is not None and interval.high is not None:
            interval = Interval(-interval.high + 0.0, -interval.low + 0.0, interval.p)
        n_clusters = sum(len(block.sums) for block in blocks)
        description = f"{description}; {clustering}"
    elif len(shared) > 1 or pairing.itself:
        interval = student(first - second, settings.level)
        if interval.low is None:
            description += ", all differences equal: no interval"
    else:
        interval = Interval(None, None, None)
        description += "; one pair gives no interval"
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
        # A metric without a direction is not a hypothesis, and neither is a cost: they must not affect the correction.
        p=interval.p if column.direction != "none" and column.metric not in COSTS else None,
        n_seeds=len(shared),
        n_clusters=n_clusters,
        paired=description,
    )


def _refused(scores: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return metrics that both sides have, but in no common variant."""
    refused = []
    for metric, group in sorted(grouped(scores, lambda score: score["metric"]).items()):
        a, b = ({score["variant"] for score in group if score["side"] == side} for side in "ab")
        if a and b and not a & b:
            refused.append((metric, why_not([*a, *b])))
    return refused


def _never_together(a: str, b: str, candidates: Sequence[tuple[Board, Row | None, Row | None]]) -> str:
    board_a = next(board for board, row_a, _ in candidates if row_a)
    board_b = next(board for board, _, row_b in candidates if row_b)
    for name, plural in PLURALS._asdict().items():
        value_a, value_b = getattr(board_a, name), getattr(board_b, name)
        if value_a != value_b:
            return (
                f"{a!r} and {b!r} cannot be compared: they were measured on different {plural} "
                f"({value_a or 'not recorded'} and {value_b or 'not recorded'})."
            )
    return f"{a!r} and {b!r} are never on one board."
