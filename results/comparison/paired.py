"""Paired comparison of two rows of a board: the difference of every metric that they share.

The statistics are explained, with their equations, in docs/comparing.md. Needs no torch.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from results.boards.board import Board, Column, Row
from results.boards.build import EVIDENCE_PREFIX, FLOOR_PREFIX
from results.boards.columns import columns_of, variant_of, why_not
from results.boards.fit_seconds import attach_fit_seconds
from results.comparison.difference import Difference, PairedScores, Sampling
from results.comparison.intervals import holm
from results.comparison.seed_pairs import paired_cells
from results.comparison.unit_clusters import UnitReader
from results.errors import NotComparableError, StoreError
from results.nearest_names import alternatives
from results.store.records import grouped, records_of
from results.visible_text import names_text

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


class CellScores:
    """Cells of a store and their scores, read once for any number of comparisons."""

    def __init__(self, store: Store, cells: pd.DataFrame, scores: pd.DataFrame) -> None:
        """Take frames as returned by `Store.cells()` and `Store.scores()`."""
        self._cells, self._scores = cells, scores
        self.units = UnitReader(store)

    @functools.cached_property
    def by_id(self) -> dict[str, dict[str, Any]]:
        """Cell id -> cell."""
        return {cell["cell_id"]: cell for cell in records_of(self._cells)}

    @functools.cached_property
    def by_cell(self) -> dict[str, list[dict[str, Any]]]:
        """Cell id -> its scores, with the time of its fit."""
        measured = records_of(self._scores)
        with_fits = [*measured, *attach_fit_seconds(list(self.by_id.values()), measured).scores]
        return grouped(with_fits, lambda score: score["cell_id"])

    def compare(
        self, board: Board, a: Row, b: Row, sampling: Sampling, metrics: Collection[str] | None = None
    ) -> Comparison:
        """Compare two rows of one board.

        Args:
            metrics: only these; the correction is for the number of tests.

        Raises:
            NotComparableError: the rows share no seed or no comparable metric.
            StoreError: a setting of `sampling` is out of range, or the store cannot be read.
        """
        check_sampling(sampling)
        pairing, notes = paired_cells(a, b, self.by_id, board.layer_title)
        scores = [
            {**score, "side": side, "index": index, "variant": variant_of(score, cell)}
            for side, groups in (("a", pairing.a), ("b", pairing.b))
            for index, group in enumerate(groups)
            for cell in group
            for score in self.by_cell.get(cell["cell_id"], [])
            if score["value"] is not None and not score["metric"].startswith((FLOOR_PREFIX, EVIDENCE_PREFIX))
        ]
        columns, key_of, _ = columns_of(scores, board.evaluation_fingerprint)
        of_column = grouped(scores, lambda score: (key_of[score["metric"], score["variant"]], score["side"]))
        refused = _refused(scores)
        if metrics is not None:
            _require_metrics(metrics, columns, board.layer_title)
            columns = [column for column in columns if column.metric in metrics]
            refused = [(metric, reason) for metric, reason in refused if metric in metrics]
        paired_scores = PairedScores(self.units, pairing, sampling, self.by_cell)
        both = [column for column in columns if all((column.key, side) in of_column for side in "ab")]
        differences, undefined = paired_scores.differences(both, of_column)
        notes += [f"{column.key} is not compared: it is undefined for a cell." for column in undefined]
        if not differences:
            reasons = "; ".join(f"{metric}: {reason}" for metric, reason in refused) or "they have no metric in common"
            raise NotComparableError(f"{a.title} and {b.title} cannot be compared on {board.layer_title}: {reasons}.")
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
    """Compare two rows of one board; arguments and errors as in :func:`results.compare`."""
    where = {"backbone": board.backbone, "site": board.site}
    cells = CellScores(store, store.cells(**where), store.scores(**where))
    return cells.compare(board, a, b, Sampling(level, n_resamples, seed), metrics)


#: Resamples of one interval; the memory grows with their number.
MOST_RESAMPLES = 1_000_000


def check_sampling(sampling: Sampling) -> None:
    """Raise StoreError if a setting is out of range."""
    if not 0 < sampling.level < 1:
        raise StoreError(f"level is {sampling.level}; it must be between 0 and 1, such as 0.95.")
    if not 100 <= sampling.n_resamples <= MOST_RESAMPLES:
        raise StoreError(
            f"n_resamples is {sampling.n_resamples}; an interval needs at least 100, such as 2000, and at most "
            f"{MOST_RESAMPLES} are drawn."
        )
    if not 0 <= sampling.seed < 2**32:
        raise StoreError(f"seed is {sampling.seed}; it must be at least 0 and below {2**32}.")


def _better(difference: Difference, p_holm: float | None, threshold: float) -> str | None:
    if p_holm is None or p_holm >= threshold or not difference.difference or difference.column.direction == "none":
        return None
    return "a" if (difference.difference > 0) == (difference.column.direction == "higher") else "b"


def _require_metrics(metrics: Collection[str], columns: Sequence[Column], board_name: str) -> None:
    """Raise NotComparableError for a metric that neither row has, or that cannot be paired by seed."""
    metric_ids = sorted({column.metric for column in columns})
    absent = sorted(set(metrics) - set(metric_ids))
    if pooled := [metric for metric in absent if metric in POOLED]:
        raise NotComparableError(
            f"{pooled[0]} is a score of several cells, so it cannot be paired by seed; `harness leaderboard` shows "
            f"it with its interval. Metrics that can be paired: {names_text(metric_ids, 6)}."
        )
    if absent:
        raise NotComparableError(
            f"Neither row has the metric {absent[0]!r} on {board_name}. {alternatives(absent[0], metric_ids)}"
        )


def _refused(scores: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return metrics that both sides have, but in no common variant."""
    refused = []
    for metric, group in sorted(grouped(scores, lambda score: score["metric"]).items()):
        a, b = ({score["variant"] for score in group if score["side"] == side} for side in "ab")
        if a and b and not a & b:
            refused.append((metric, why_not([*a, *b])))
    return refused
