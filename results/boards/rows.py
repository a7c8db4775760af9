"""Rows of a board: means over seeds of the cells of one label in one configuration."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from results.boards.board import LARGEST, Aggregate, Column, Row
from results.boards.columns import Variant, difference
from results.boards.families import membership
from results.boards.group_columns import pairs_error
from results.boards.seeds import Seeds, averaged, seeds_of
from results.store.records import grouped

FLOOR_PREFIX = "floor_"

Record = Mapping[str, Any]


def rows_of(
    cells: Sequence[Record],
    board_scores: Sequence[Record],
    columns: Sequence[Column],
    key_of: Mapping[tuple[str, Variant], str],
) -> tuple[list[Row], list[str]]:
    """Return the rows of a board, without flags and ranks, and notes on cells that are not in the means.

    Args:
        cells: of the board, finished and failed, in the order in which they were started.
        board_scores: rows of `Store.scores()` of its finished cells, with their "cell" and "variant".
        columns: of the board, floors included.
        key_of: (metric, variant) -> key of its column.
    """
    scores_of, notes = _by_seed(board_scores, key_of)
    column_of = {column.key: column for column in columns}
    titles = _titles(cells)
    rows = []
    for row_key, row_cells in grouped(cells, lambda cell: (cell["label"], cell["config_id"])).items():
        all_seeds = {seeds_of(cell) for cell in row_cells}
        counted = averaged(all_seeds)
        if repeats := sorted({init for _, init in all_seeds - counted}):
            notes.append(
                f"Cells of init seed {', '.join(map(str, repeats))} were not run on every token set: they count for "
                "stability, and are in no other mean."
            )
        rows.append(_row(row_cells, titles[row_key], counted, scores_of.get(row_key, {}), column_of))
    return rows, list(dict.fromkeys(notes))


def _by_seed(
    board_scores: Sequence[Record], key_of: Mapping[tuple[str, Variant], str]
) -> tuple[dict[tuple[str, str], dict[str, dict[Seeds, Record]]], list[str]]:
    """Return row -> column key -> seeds -> score, and notes on cells with equal seeds.

    Cells are in the order in which they were started, so of two with the same seeds (run again under another identity)
    the newer one stays.
    """
    scores_of: dict[tuple[str, str], dict[str, dict[Seeds, Record]]] = {}
    notes: list[str] = []
    for score in board_scores:
        row = (score["cell"]["label"], score["cell"]["config_id"])
        seeds = scores_of.setdefault(row, {}).setdefault(key_of[score["metric"], score["variant"]], {})
        seed = seeds_of(score["cell"])
        if seed in seeds:
            notes.append(
                f"{row[0]} has more than one cell with {_seed_text(score['cell'])}; only the newest is in its means."
            )
        seeds[seed] = score
    return scores_of, notes


def _row(
    cells: Sequence[Record],
    title: str,
    counted: set[Seeds],
    scores_of: Mapping[str, Mapping[Seeds, Record]],
    column_of: Mapping[str, Column],
) -> Row:
    failed = [cell for cell in cells if cell["status"] == "failed"]
    finished = {seeds_of(cell) for cell in cells if cell["status"] == "finished"}
    metrics: dict[str, Aggregate] = {}
    undefined: dict[str, int] = {}
    floors: dict[str, float] = {}
    for key, seeds in scores_of.items():
        of_cells = [score for _, score in sorted(seeds.items()) if seeds_of(score["cell"]) in counted or _pooled(score)]
        if not of_cells:
            continue
        aggregate, column = _aggregate(of_cells, column_of[key]), column_of[key]
        if column.metric.startswith(FLOOR_PREFIX):
            if aggregate is not None:
                floors.setdefault(column.metric, aggregate.mean)
        elif aggregate is None:
            undefined[key] = len(of_cells)
        else:
            metrics[key] = aggregate
    head = cells[0]
    return Row(
        label=head["label"],
        title=title,
        method=head["method"],
        config_id=head["config_id"],
        cell_ids=tuple(sorted(cell["cell_id"] for cell in cells)),
        n_finished=len(cells) - len(failed),
        n_failed=len(failed),
        errors=tuple(
            f"{cell['error_type'] or 'Error'}: {cell['error_message'] or 'no message'} ({_seed_text(cell)})"
            for cell in sorted(failed, key=seeds_of)
        ),
        metrics=metrics,
        undefined=undefined,
        n_seeds=len(finished & counted),
        floors=floors,
        **membership(head)._asdict(),
    )


def _pooled(score: Record) -> bool:
    """Return whether a score is of several cells, and only attached to one of them."""
    return score.get("values") is not None or score.get("interval") is not None


def _titles(cells: Sequence[Record]) -> dict[tuple[str, str], str]:
    """Return (label, configuration id) -> title: the label, with the differing settings if it occurs twice."""
    heads = [group[0] for group in grouped(cells, lambda cell: (cell["label"], cell["config_id"])).values()]
    same_label = grouped(heads, lambda cell: cell["label"])
    return {(cell["label"], cell["config_id"]): _title(cell, same_label[cell["label"]]) for cell in heads}


def _title(cell: Record, same_label: Sequence[Record]) -> str:
    if len(same_label) == 1:
        return str(cell["label"])
    text = difference(cell["config"] or {}, [other["config"] or {} for other in same_label])
    if not text or len(text) > 40:
        text = cell["config_id"][:8]
    return f"{cell['label']} ({text})"


def _seed_text(cell: Record) -> str:
    seeds = [f"{kind} seed {cell[f'{kind}_seed']}" for kind in ("token", "init") if cell[f"{kind}_seed"] is not None]
    return ", ".join(seeds) or "no seed"


def _aggregate(scores: Sequence[Record], column: Column) -> Aggregate | None:
    # A score of several cells has one value per pair of them.
    listed = [score.get("values") or [score["value"]] for score in scores]
    values = [
        float(value)
        for cell_values in listed
        for value in cell_values
        if isinstance(value, (int, float)) and abs(value) <= LARGEST  # False for NaN
    ]
    if not values:
        return None
    uncertainties = [score["uncertainty"] for score in scores if score["uncertainty"] is not None]
    errors = [float(error) for error in uncertainties if 0 <= error <= LARGEST]
    counts = [int(score["n"]) for score in scores if score["n"] is not None]
    of_pairs = any(score.get("values") for score in scores)
    return Aggregate(
        mean=statistics.fmean(values),
        std=statistics.stdev(values) if len(values) > 1 else None,
        n=len(values),
        values=tuple(values),
        standard_error=statistics.fmean(errors) if errors else None,
        n_undefined=sum(map(len, listed)) - len(values),
        direction=column.direction,
        unit=column.unit,
        interval=scores[0].get("interval"),
        n_observations=round(statistics.fmean(counts)) if counts and not of_pairs else None,
        pairs_error=pairs_error([score.get("values") or [] for score in scores]),
        of_pairs=of_pairs,
    )
