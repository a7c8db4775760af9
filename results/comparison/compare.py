"""Comparison of two rows, given by name, on every board that has both."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from results.boards.board import PLURALS, Board, Row
from results.boards.build import boards_of
from results.boards.find_row import row_called, unknown_row
from results.comparison.chance_pairs import paired_on_boards
from results.comparison.difference import Sampling
from results.comparison.paired import CellScores, Comparison, check_sampling
from results.errors import NotComparableError, StoreError

if TYPE_CHECKING:
    from results.store import Store


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
    sampling = Sampling(level, n_resamples, seed)
    check_sampling(sampling)
    cells, scores = store.cells(backbone=backbone, site=site), store.scores(backbone=backbone, site=site)
    source = CellScores(store, cells, scores)
    boards = boards_of(cells, scores, paired_on=paired_on_boards(source))
    candidates = [(board, row_called(board, a), row_called(board, b)) for board in boards]
    for index, name in ((1, a), (2, b)):
        if not any(candidate[index] for candidate in candidates):
            raise unknown_row(name, boards)
    shared_boards = [(board, row_a, row_b) for board, row_a, row_b in candidates if row_a and row_b]
    if not shared_boards:
        raise StoreError(_never_together(a, b, candidates))
    comparisons, problems = [], []
    for board, row_a, row_b in shared_boards:
        try:
            comparisons.append(source.compare(board, row_a, row_b, sampling, metrics))
        except NotComparableError as error:
            problems.append(str(error))
    if not comparisons:
        raise StoreError(" ".join(dict.fromkeys(problems)))
    return comparisons


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
