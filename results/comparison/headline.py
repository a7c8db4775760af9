"""Headline of a board: the contrast that a reader asks for first, with its interval, in one sentence.

The method in focus (ELUDe if the board has it) is compared with the best sparse autoencoder, with the backbone's own
neurons, and with its count-matched random control. The sentence has the sign of the difference, whichever is ahead.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from results.boards.board import Board, Column, Row
from results.boards.chance import matched_control
from results.boards.find_row import row_called
from results.boards.flags import ONE_SEED
from results.boards.lead_columns import heading
from results.boards.ranking import FAITHFULNESS, HEADLINE
from results.comparison.difference import DEFAULT_SAMPLING, Difference
from results.comparison.paired import CellScores, Comparison
from results.errors import NotComparableError, StoreError

if TYPE_CHECKING:
    from results.store import Store

#: Further metrics of the sentence, for what the score costs, after the first two of FAITHFULNESS that both rows have.
COSTS = ("fit_seconds", "encode_macs")
#: Registry name of the method in focus, and family of its rivals.
FOCUS, RIVALS = "elude", "sae"
BACKBONE = "identity"
BACKBONE_ROLE = "backbone"
CONTROL = "random control with as many units"
HIGHEST = "highest control"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contrast:
    """Comparison of the row in focus with one other row.

    Attributes:
        role: "best SAE" (see `_best_of`), "backbone", "random control with as many units", "highest control" if it is
            neither of these, or "best other method" if
            there is no SAE.
        comparison: row in focus (A) against the other one (B).
        score: difference of the headline's score.
        sentence: the contrast in words.
    """

    role: str
    comparison: Comparison
    score: Difference
    sentence: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Headline:
    """Headline of a board.

    Attributes:
        board: the board.
        focus: the row in focus.
        contrasts: the first one is the headline, the others put it into proportion.
        sentence: the headline in words.
    """

    board: Board
    focus: Row
    contrasts: tuple[Contrast, ...]
    sentence: str


def headline(store: Store, board: Board, *, focus: str | None = None) -> Headline | None:
    """Return the headline of a board; None if it has no two rows with a score that can be compared.

    Args:
        focus: title, label, configuration id or method name of the row in focus; default: ELUDe, else the best method
            that is neither a sparse autoencoder nor flagged, else the best one.

    Raises:
        StoreError: the board has no row called `focus`, or the store cannot be read.
    """
    selected = contrasted_rows(board, focus=focus)
    if selected is None:
        return None
    column, chosen, others = selected
    where = {"backbone": board.backbone, "site": board.site}
    cells = CellScores(store, store.cells(**where), store.scores(**where))
    contrasts = []
    for role, other in others:
        contrast = _contrast(cells, board, column, role, chosen, other)
        if contrast is not None:
            contrasts.append(contrast)
    if not contrasts:
        return None
    return Headline(board=board, focus=chosen, contrasts=tuple(contrasts), sentence=contrasts[0].sentence)


def with_headline(store: Store, board: Board) -> Board:
    """Return the board with the sentences of its headline and of the contrasts that put it into proportion."""
    content = headline(store, board)
    sentences = tuple(contrast.sentence for contrast in content.contrasts) if content else ()
    return dataclasses.replace(board, headline=sentences)


def contrasted_rows(board: Board, *, focus: str | None = None) -> tuple[Column, Row, list[tuple[str, Row]]] | None:
    """Return the score of a board's headline, the row in focus, and the roles and rows that it is compared with.

    None if no method has the score; an empty list if no other row has it. `focus` and errors as in :func:`headline`.
    """
    column = next((column for metric in HEADLINE for column in board.columns_called([metric])), None)
    if column is None:
        return None
    rows = sorted(
        (row for row in board.rows if column.key in row.metrics),
        # A row with one seed comes after those whose spread is known: it has no interval.
        key=lambda row: (bool(_serious(row)), bool(row.flags), -row.metrics[column.key].mean),
    )
    chosen = _focus(board, rows, focus)
    return None if chosen is None else (column, chosen, _others(chosen, rows, column, board.columns))


def headline_json(content: Headline) -> dict[str, Any]:
    """Return a headline as JSON content."""
    return {
        "focus": content.focus.title,
        "sentence": content.sentence,
        "contrasts": [
            {
                "role": contrast.role,
                "other": contrast.comparison.b.title,
                "metric": contrast.score.column.key,
                **{name: getattr(contrast.score, name) for name in ("difference", "low", "high", "p", "n_seeds")},
                "sentence": contrast.sentence,
            }
            for contrast in content.contrasts
        ],
    }


def _serious(row: Row) -> list[str]:
    """Return the names of the flags of a row without `one seed`, which says nothing about its values."""
    return [flag.name for flag in row.flags if flag.name != ONE_SEED]


def _focus(board: Board, rows: Sequence[Row], name: str | None) -> Row | None:
    if name is not None:
        named = row_called(board, name)
        if named is None:
            raise StoreError(f"{board.layer_title} has no row named {name!r}.")
        return named
    methods = [row for row in rows if row.group == "method"]
    preferences = (
        [row for row in methods if row.method == FOCUS],
        [row for row in methods if row.family != RIVALS and not _serious(row)],
        methods,
    )
    return next((candidates[0] for candidates in preferences if candidates), None)


def _others(focus: Row, rows: Sequence[Row], score: Column, columns: Sequence[Column]) -> list[tuple[str, Row]]:
    """Return the rows that the focus is compared with, and their roles, the most important first."""
    methods = [row for row in rows if row is not focus and row.group == "method"]
    rivals = [row for row in methods if row.family == RIVALS]
    others: list[tuple[str, Row]] = []
    if rivals:
        others.append((_best_of("SAE" if focus.family != RIVALS else "other SAE", rivals, score), rivals[0]))
    elif methods:
        others.append((_best_of("other method", methods, score), methods[0]))
    others += [(BACKBONE_ROLE, row) for row in rows if row.method == BACKBONE and row is not focus][:1]
    matched = matched_control(focus, rows, columns)
    others += [(CONTROL, matched[1])] if matched else []
    # A level that a method must exceed, whatever its size.
    controls = [row for row in rows if row.group == "control"]
    highest = max(controls, key=lambda row: row.metrics[score.key].mean, default=focus)
    return others if highest is focus or any(row is highest for _, row in others) else [*others, (HIGHEST, highest)]


def _best_of(kind: str, rows: Sequence[Row], score: Column) -> str:
    """Return the role of the first of the `rows`, which precedes flagged rows with a higher score.

    "best SAE" has the highest score of all, "best unflagged SAE" the highest one without a flag. If all are flagged,
    "least flagged SAE" has only the flag `one seed`, and those with a higher score have worse ones.
    """
    if rows[0].metrics[score.key].mean >= max(row.metrics[score.key].mean for row in rows):
        return f"best {kind}"
    return f"least flagged {kind}" if rows[0].flags else f"best unflagged {kind}"


def _contrast(cells: CellScores, board: Board, column: Column, role: str, focus: Row, other: Row) -> Contrast | None:
    wanted = [column.metric, *FAITHFULNESS, *COSTS]
    present = [name for name in wanted if any(c.metric == name for c in board.columns)]
    shared = [
        name
        for name in present
        if any(c.key in focus.metrics and c.key in other.metrics for c in board.columns_called([name]))
    ]
    if column.metric not in shared:
        return None
    try:
        comparison = cells.compare(board, focus, other, DEFAULT_SAMPLING, shared)
    except NotComparableError:
        return None
    score = next(
        (difference for difference in comparison.differences if difference.column.metric == column.metric), None
    )
    if score is None:
        return None
    sentence = _sentence(role, comparison, score)
    return Contrast(role=role, comparison=comparison, score=score, sentence=sentence)


def _sentence(role: str, comparison: Comparison, score: Difference) -> str:
    focus, other = comparison.a, comparison.b
    name = heading(score.column).partition(" (")[0]
    parts = [f"{name} {difference_text(score)}", *map(both_values, side_values(role, comparison))]
    article = "its " if role == CONTROL else "the "
    return f"{focus.title_with_flags} vs {article}{role} ({other.title_with_flags}): {', '.join(parts)}."


def side_values(role: str, comparison: Comparison) -> list[Difference]:
    """Return the metrics whose values stand side by side: what the score costs in faithfulness, time and work."""
    by_metric = {difference.column.metric: difference for difference in reversed(comparison.differences)}
    metrics: list[str] = []
    # Two lossless methods are equal in faithfulness by construction.
    if not (comparison.a.is_lossless and comparison.b.is_lossless):
        metrics += [metric for metric in FAITHFULNESS if metric in by_metric][:2]
    if role not in (BACKBONE_ROLE, CONTROL, HIGHEST):
        metrics += [metric for metric in COSTS if metric in by_metric]
    return [by_metric[metric] for metric in metrics]


def difference_text(difference: Difference) -> str:
    """Return a difference with its interval and what it says: "+0.7 [-0.4, 1.8] (not separable)"."""
    text, ends = difference_numbers(difference)
    if ends is None:
        reason = "one pair of seeds, so no interval" if difference.n_seeds == 1 else "no interval"
        return f"{text} ({reason})"
    return f"{text} [{', '.join(ends)}]" + ("" if is_separable(difference) else " (not separable)")


def difference_numbers(difference: Difference) -> tuple[str, tuple[str, str] | None]:
    """Return a difference with its sign, and the ends of its interval, as printed; None if it has no interval."""
    factor = 100.0 if difference.column.unit == "fraction" else 1.0
    if difference.low is None or difference.high is None:
        return _number(factor * difference.difference, sign=True), None
    # As many decimals for all three: two significant digits of the widest end, and no fewer than one decimal.
    widest = factor * max(abs(difference.low), abs(difference.high))
    decimals = 1 if not 0 < widest < 1 else 1 - math.floor(math.log10(widest))
    text, low, high = (
        f"{round(factor * value, decimals) + 0.0:.{decimals}f}"
        for value in (difference.difference, difference.low, difference.high)
    )
    return text if text.startswith("-") or not float(text) else f"+{text}", (low, high)


def is_separable(difference: Difference) -> bool:
    """Return whether a difference has an interval, and it does not contain 0."""
    low, high = difference.low, difference.high
    return low is not None and high is not None and not low <= 0 <= high


def both_values(difference: Difference) -> str:
    """Return the values of both rows: "R2 100 vs 40.0 %"."""
    column = difference.column
    name, _, unit = heading(column).partition(" (")
    unit = unit.partition(")")[0]
    factor = 100.0 if column.unit == "fraction" else 1.0
    values = " vs ".join(_number(factor * value) for value in (difference.a, difference.b))
    return f"{name} {values}{f' {unit}' if unit else ''}"


def _number(value: float, *, sign: bool = False) -> str:
    """Return a number with one decimal below 100, and two significant digits below .1."""
    if 0 < abs(value) < 0.1:
        text = f"{value:.2g}"
    else:
        text = f"{value:.1f}" if abs(value) < 99.95 else f"{value:.0f}"
    return f"+{text}" if sign and value > 0 else text
