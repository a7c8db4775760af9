"""Weighted scores of the boards of a store: as tables, JSON content and a frame (docs/aggregate.md)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from results.boards.board import Board, BoardKey, Column, Row
from results.boards.families import GROUP_HEADINGS, GROUPS
from results.boards.reference_scales import SCALES, SCALES_VERSION, Scale
from results.boards.trials import marked
from results.boards.value_text import flag_lines
from results.boards.weight_sensitivity import N_WEIGHTS
from results.boards.weighted_mean import normalised
from results.boards.weights import column_of, require_measured
from results.comparison.joint_draws import N_DRAWS, joint_draws
from results.comparison.row_errors import RowErrors, name_of
from results.comparison.weighted_score import Nearest, WeightedScores, controls_above, lacking, weighted_scores
from results.tables import Table

if TYPE_CHECKING:
    import pandas as pd

    from results.store import Store


class BoardScores(NamedTuple):
    """Weighted scores of one board.

    Attributes:
        board: the board.
        weights: name (a metric or a dimension) -> its share of the weight; they add up to 1.
        columns: name -> its column, in the order of the weights.
        absent: names that the board does not have: then no row has a score.
        scores: of the rows; None if a name is absent.
    """

    board: Board
    weights: Mapping[str, float]
    columns: Mapping[str, Column]
    absent: tuple[str, ...]
    scores: WeightedScores | None

    @property
    def order(self) -> list[int]:
        """Numbers of the rows by group, then by score; rows without one are left out."""
        if self.scores is None:
            return []
        rows, values = self.board.rows, self.scores.values
        scored = [number for number in range(len(rows)) if not math.isnan(values[number])]
        return sorted(scored, key=lambda n: (GROUPS.index(rows[n].group), -values[n], rows[n].title))

    @property
    def without(self) -> list[tuple[Row, list[str]]]:
        """Rows without a score, each with the metrics that it lacks."""
        missing = [(row, lacking(row, self.columns, self.weights)) for row in self.board.rows]
        return [(row, [*self.absent, *names]) for row, names in missing if names or self.absent]


def board_scores(store: Store, boards: Sequence[Board], weights: Mapping[str, float]) -> list[BoardScores]:
    """Return the weighted scores of the rows of boards.

    Args:
        store: of the boards; it is read for the errors that rows share.
        boards: see `results.leaderboard`.
        weights: metric or dimension -> weight above 0 (`results.boards.weights.parsed_weights`).

    Raises:
        StoreError: no board has one of the metrics, or the store cannot be read.
    """
    require_measured(boards, weights)
    return [_of_board(store, board, normalised(weights)) for board in boards]


def _of_board(store: Store, board: Board, weights: Mapping[str, float]) -> BoardScores:
    columns = {name: column for name in weights if (column := column_of(board, name)) is not None}
    absent = tuple(name for name in weights if name not in columns)
    if absent or not board.rows:
        return BoardScores(board, weights, columns, absent, None)
    errors = RowErrors(store, board)
    names = [name_of(row) for row in board.rows]
    draws = {}
    for name, column in columns.items():
        of_rows = errors.of(column)
        draws[name] = joint_draws({row: of_rows[row] for row in names}, metric=column.key)
    return BoardScores(board, weights, columns, absent, weighted_scores(board.rows, columns, draws, weights))


def weights_text(weights: Mapping[str, float]) -> str:
    """Return weights as "ms_score 67 %, r2 33 %"."""
    return ", ".join(f"{name} {percent(weight)} %" for name, weight in weights.items())


def percent(share: float) -> str:
    """Return a share as the digits of a percentage; "<1" for less than half a percent, "-" for NaN."""
    if math.isnan(share):
        return "-"
    return "<1" if 0 < share < 0.005 else ">99" if 0.995 <= share < 1 else f"{100 * share:.0f}"


def scale_text(name: str, column: Column) -> str:
    """Return the ends of a column's scale and their reason: "r2: 0 at 0 %, 100 at 100 % (...)"."""
    scale = SCALES[column.metric]
    ends = [_end(column, scale, end) for end in ("worst", "best")]
    title = name if name == column.key else f"{name} ({column.key})"
    log = ", logarithmic" if scale.is_log else ""
    return f"{title}: 0 at {ends[0]}, 100 at {ends[1]}{log} ({scale.reason})"


def _end(column: Column, scale: Scale, end: str) -> str:
    if floor := getattr(scale, f"{end}_floor"):
        return str(floor)
    factor, unit = (100.0, " %") if column.unit == "fraction" else (1.0, f" {column.unit}" if column.unit else "")
    return f"{getattr(scale, end) * factor:g}{unit}"


def change_text(nearest: Nearest, rows: Sequence[Row]) -> str:
    """Return the sentence on the smallest change of the weights that makes another row first."""
    return (
        f"{rows[nearest.row].title} becomes first if {share_text(nearest.distance)} % of the weight moves, the "
        f"smallest change that makes another method first: {weights_text(nearest.weights)}."
    )


def without_a_score(without: Sequence[tuple[Row, list[str]]]) -> list[tuple[str, str]]:
    """Return what rows lack and the titles of the rows that lack it: ("r2, kl", "A; B")."""
    titles: dict[str, list[str]] = {}
    for row, names in without:
        titles.setdefault(", ".join(names), []).append(row.title)
    return [(names, "; ".join(rows)) for names, rows in titles.items()]


def share_text(share: float) -> str:
    """Return a share as the digits of a percentage, with one decimal below 10 %."""
    return f"{100 * share:.0f}" if share >= 0.0995 or share < 1e-9 else f"{100 * share:.1f}"


def table(of_board: BoardScores) -> Table:
    """Return the weighted scores of a board as a table of text, with notes that explain it."""
    board, scores, columns = of_board.board, of_board.scores, of_board.columns
    title = f"{marked(board.title, board)}: weighted score ({weights_text(of_board.weights)})"
    if scores is None:
        notes = [f"No row has a score: this board lacks {', '.join(of_board.absent)}."] if of_board.absent else []
        return Table(title, ["method"], [], (False,), notes)
    header = ["rank", "method", "score ↑", "95 % interval", "first (% of draws)", "first (% of weights)"]
    header += ["change to be first (%)", *(f"{name} (0 to 100)" for name in columns)]
    lines: list[list[str]] = []
    headings: list[int] = []
    for group, members in itertools.groupby(of_board.order, key=lambda number: board.rows[number].group):
        if heading := GROUP_HEADINGS.get(group):
            headings.append(len(lines))
            lines.append(["", heading, *[""] * (len(header) - 2)])
        lines += [_line(of_board, number) for number in members]
    numeric = (False, False, *[True] * (len(header) - 2))
    return Table(title, header, lines, numeric, _notes(of_board, scores), headings)


def _line(of_board: BoardScores, number: int) -> list[str]:
    scores, row = of_board.scores, of_board.board.rows[number]
    assert scores is not None
    low, high = scores.spans[number]
    rank = scores.ranks[number]
    change = scores.changes[number]
    return [
        "-" if rank is None else "-".join(str(end) for end in dict.fromkeys(rank)),
        row.title_with_flags,
        f"{scores.values[number]:.1f}",
        "-" if math.isnan(low) else f"{low:.1f} to {high:.1f}",
        percent(scores.first[number]),
        percent(scores.weight_shares[number]),
        "-" if math.isnan(change) else "never" if math.isinf(change) else share_text(change),
        *(f"{placed[number]:.1f}" for placed in scores.positions.values()),
    ]


def _notes(of_board: BoardScores, scores: WeightedScores) -> list[str]:
    rows = of_board.board.rows
    present = [(rows[number].title, rows[number]) for number in of_board.order]
    notes = []
    if scores.nearest is not None:
        notes.append(change_text(scores.nearest, rows))
    elif len(of_board.weights) > 1 and (scores.weight_shares == 1).any():
        notes.append("No weights of these metrics make another method first.")
    if above := controls_above(rows, scores):
        names = ", ".join(f"{rows[number].title} ({scores.values[number]:.1f})" for number in above)
        notes.append(f"Controls with a higher score, so these weights reward doing little: {names}.")
    if of_board.without:
        notes += [f"Without a score (no {names}): {titles}." for names, titles in without_a_score(of_board.without)]
    notes += flag_lines(present)
    notes += [
        f"{name}: judges at chance: {column.panel_at_chance}"
        for name, column in of_board.columns.items()
        if column.panel_at_chance
    ]
    notes += [f"scale of {scale_text(name, column)}" for name, column in of_board.columns.items()]
    return [
        *notes,
        f"score: weighted mean of the positions on fixed scales (version {SCALES_VERSION}), which do not depend on the "
        f"other rows; interval: of {N_DRAWS} draws of all means within their errors; the metrics of one row are drawn "
        "independently",
        "rank, first: among the methods without a flag; % of draws: with these weights; % of weights: of all weights "
        f"of these metrics, by the means ({_how(len(of_board.weights))})",
        "change to be first: smallest share of the weight that has to move from some metrics to others",
        "scales and weights are a choice: a score is no evidence",
    ]


def _how(n_metrics: int) -> str:
    return f"{N_WEIGHTS} drawn uniformly" if n_metrics > 2 else "exact"


def table_json(of_board: BoardScores) -> dict[str, Any]:
    """Return the weighted scores of a board as JSON content; scores from 0 to 100, shares from 0 to 1."""
    board, scores = of_board.board, of_board.scores
    scales = {
        name: {
            "column": column.key,
            "metric": column.metric,
            **{end: getattr(SCALES[column.metric], end) for end in ("worst", "best", "is_log")},
            **{end: getattr(SCALES[column.metric], end) or None for end in ("worst_floor", "best_floor")},
            "reason": SCALES[column.metric].reason,
        }
        for name, column in of_board.columns.items()
    }
    nearest = None
    if scores is not None and scores.nearest is not None:
        row = board.rows[scores.nearest.row]
        nearest = {"title": row.title, "config_id": row.config_id, **scores.nearest._asdict()}
        del nearest["row"]
    return {
        **{name: getattr(board, name) for name in BoardKey._fields},
        "title": board.title,
        "scales_version": SCALES_VERSION,
        "weights": dict(of_board.weights),
        "scales": scales,
        "absent": list(of_board.absent),
        "nearest": nearest,
        "rows": [_row_json(of_board, number) for number in range(len(board.rows))],
    }


def _row_json(of_board: BoardScores, number: int) -> dict[str, Any]:
    row, scores = of_board.board.rows[number], of_board.scores
    content: dict[str, Any] = {name: getattr(row, name) for name in ("label", "title", "method", "config_id", "group")}
    content["flags"] = [flag.name for flag in row.flags]
    content["missing"] = [*of_board.absent, *lacking(row, of_board.columns, of_board.weights)]
    numbers: dict[str, Any] = dict.fromkeys(_NUMBERS)
    if scores is not None:
        rank, change = scores.ranks[number], scores.changes[number]
        numbers |= {
            "score": _finite(scores.values[number]),
            "low": _finite(scores.spans[number][0]),
            "high": _finite(scores.spans[number][1]),
            "rank_low": None if rank is None else rank[0],
            "rank_high": None if rank is None else rank[1],
            "first_in_draws": _finite(scores.first[number]),
            "first_in_weights": _finite(scores.weight_shares[number]),
            "change_to_be_first": _finite(change),
        }
    placed = {} if scores is None else scores.positions
    return {**content, **numbers, "positions": {name: _finite(values[number]) for name, values in placed.items()}}


_NUMBERS = ("score", "low", "high", "rank_low", "rank_high", "first_in_draws", "first_in_weights", "change_to_be_first")


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def frame(of_boards: Sequence[BoardScores]) -> pd.DataFrame:
    """Return the weighted scores of boards as one frame, one line per row; missing where there is none.

    Columns: the board's identifying columns, label, title, method, config_id, group, flags, missing, score, low, high,
    rank_low, rank_high, first_in_draws, first_in_weights, change_to_be_first (missing also if no weights make the row
    first), and per metric `position_<name>` and `weight_<name>`.
    """
    import pandas as pd

    lines: list[dict[str, Any]] = []
    for of_board in of_boards:
        head = {name: getattr(of_board.board, name) for name in BoardKey._fields}
        weights = {f"weight_{name}": weight for name, weight in of_board.weights.items()}
        for number in range(len(of_board.board.rows)):
            content = _row_json(of_board, number)
            placed = content.pop("positions")
            lists = {name: "; ".join(content.pop(name)) for name in ("flags", "missing")}
            positions = {f"position_{name}": placed.get(name) for name in of_board.weights}
            lines.append({**head, **content, **lists, **positions, **weights, "scales_version": SCALES_VERSION})
    result = pd.DataFrame(lines)
    for name in result.columns:
        if name in ("rank_low", "rank_high"):
            result[name] = result[name].astype("Int64")
        elif name in _NUMBERS or name.startswith(("position_", "weight_")):
            result[name] = result[name].astype("float64")
    return result
