"""Paired comparison of two rows of a board: the difference of every metric that they share.

The statistics are explained, with their equations, in docs/comparing.md. Needs no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from results.boards.board import PLURALS, Board, Column, Row
from results.boards.build import EVIDENCE_PREFIX, FLOOR_PREFIX, boards_of
from results.boards.columns import columns_of, variant_of, why_not
from results.boards.find_row import row_called, unknown_row
from results.boards.fit_seconds import attach_fit_seconds
from results.comparison.difference import Difference, PairedScores, Sampling
from results.comparison.intervals import holm
from results.comparison.seed_pairs import paired_cells
from results.errors import StoreError
from results.store.records import grouped, records_of

if TYPE_CHECKING:
    import pandas as pd

    from results.store import Store

#: Scores of several cells together: they cannot be paired.
POOLED = ("win_rate", "stability", "stability_alive", "stability_writer", "token_sensitivity")


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
    settings = _settings(store, metrics, Sampling(level, n_resamples, seed))
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
    by_cell = _scores_by_cell(by_id.values(), scores)
    comparisons, problems = [], []
    for board, row_a, row_b in shared_boards:
        try:
            comparisons.append(_compared(settings, board, row_a, row_b, by_id, by_cell))
        except StoreError as error:
            problems.append(str(error))
    if not comparisons:
        raise StoreError(" ".join(dict.fromkeys(problems)))
    return comparisons


def compare_rows(
    store: Store,
    board: Board,
    a: Row,
    b: Row,
    *,
    metrics: Collection[str] | None = None,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two rows of one board; arguments and errors as in :func:`compare`."""
    settings = _settings(store, metrics, Sampling(level, n_resamples, seed))
    by_id = {cell["cell_id"]: cell for cell in records_of(store.cells(backbone=board.backbone, site=board.site))}
    by_cell = _scores_by_cell(by_id.values(), store.scores(backbone=board.backbone, site=board.site))
    return _compared(settings, board, a, b, by_id, by_cell)


def _scores_by_cell(cells: Iterable[dict[str, Any]], scores: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Return cell id -> its scores, with the time of its fit."""
    measured = records_of(scores)
    return grouped([*measured, *attach_fit_seconds(list(cells), measured).scores], lambda score: score["cell_id"])


class _Settings(NamedTuple):
    store: Store
    metrics: Collection[str] | None
    sampling: Sampling


def _settings(store: Store, metrics: Collection[str] | None, sampling: Sampling) -> _Settings:
    if not 0 < sampling.level < 1:
        raise StoreError(f"level is {sampling.level}; it must be between 0 and 1, such as 0.95.")
    if sampling.n_resamples < 100:
        raise StoreError(f"n_resamples is {sampling.n_resamples}; an interval needs at least 100, such as 2000.")
    return _Settings(store, metrics, sampling)


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
    sampling = settings.sampling
    paired_scores = PairedScores(settings.store, pairing, sampling, by_cell)
    both = [column for column in columns if all((column.key, side) in of_column for side in "ab")]
    differences, undefined = paired_scores.differences(both, of_column)
    notes += [f"{column.key} is not compared: it is undefined for a cell." for column in undefined]
    if not differences:
        reasons = "; ".join(f"{metric}: {reason}" for metric, reason in refused) or "they have no metric in common"
        raise StoreError(f"{a.title} and {b.title} cannot be compared on {board.layer_title}: {reasons}.")
    corrected = holm([difference.p for difference in differences])
    return Comparison(
        board=board,
        a=a,
        b=b,
        level=sampling.level,
        n_resamples=sampling.n_resamples,
        seed=sampling.seed,
        seeds=pairing.names,
        differences=tuple(
            dataclasses.replace(difference, p_holm=p, better=_better(difference, p, 1 - sampling.level))
            for difference, p in zip(differences, corrected, strict=True)
        ),
        refused=tuple(refused),
        notes=tuple(notes),
    )


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
