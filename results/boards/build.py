"""Rows that may be ranked together, their means over seeds, and their ranks.

Two scores that differ in metric version, parameters, judge panel, evaluation set or, for time and memory, in device
are never ranked together: they become separate columns or separate boards, and a note says why.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from results.boards.board import PLURALS, Aggregate, Board, BoardKey, Column, Floor, Row, board_frame, board_json
from results.boards.columns import Variant, columns_of, difference, variant_of
from results.boards.fit_seconds import attach_fit_seconds
from results.boards.group_columns import attach_group_scores, pairs_error
from results.boards.seeds import Seeds, averaged, seeds_of, without_sweeps
from results.boards.text import render_text
from results.boards.trials import trial_notes
from results.boards.win_rate_columns import attach_win_rates
from results.errors import StoreError
from results.store.records import grouped, records_of

if TYPE_CHECKING:
    import pandas as pd

    from results.store import Store

__all__ = ["Board", "board_frame", "board_json", "boards_of", "leaderboard", "records_of", "render_text"]

HEADLINE = "ms_score"
FLOOR_PREFIX = "floor_"
# Inputs of the property verdicts (see properties.py); they have no column.
EVIDENCE_PREFIX = "evidence_"


def leaderboard(
    store: Store,
    *,
    suite: str | None = None,
    backbone: str | None = None,
    site: str | None = None,
    cell_ids: Collection[str] | None = None,
    sort_by: str | None = None,
) -> list[Board]:
    """Return the boards of a store, ordered by backbone, site and sets; none for a store without cells.

    Cells of a sweep are left out, with a note, if there are others, unless `suite` or `cell_ids` selects them.

    Args:
        suite: only cells that were first run for this suite. A cell that two suites share belongs to the first; to
            see all of one suite's cells, give `cell_ids`.
        backbone: only this backbone (registry name).
        site: only this site.
        cell_ids: only these cells.
        sort_by: metric id to sort rows by; default ms_score.

    Raises:
        StoreError: the store cannot be read, or no cell has the metric `sort_by`.
    """
    from results.store import group_scores, judgments

    cells = store.cells(suite=suite, backbone=backbone, site=site)
    scores = store.scores(suite=suite, backbone=backbone, site=site)
    if cell_ids is not None:
        wanted = set(cell_ids)
        cells = cells[cells["cell_id"].isin(wanted)]
        scores = scores[scores["cell_id"].isin(wanted)]
    return boards_of(
        cells,
        scores,
        sort_by=sort_by,
        win_rates=judgments.win_rates(store),
        groups=group_scores.group_scores(store),
        sweeps=suite is not None or cell_ids is not None,
    )


def boards_of(
    cells: pd.DataFrame,
    scores: pd.DataFrame,
    *,
    sort_by: str | None = None,
    win_rates: pd.DataFrame | None = None,
    groups: pd.DataFrame | None = None,
    sweeps: bool = False,
) -> list[Board]:
    """Return the boards of frames as returned by `Store.cells()`, `Store.scores()`, `win_rates()` and `group_scores()`.

    Cells of sweeps are shown beside other cells only if `sweeps` is true. `sort_by` as in `leaderboard`.

    Raises:
        StoreError: no score is of the metric `sort_by`.
    """
    cell_records = records_of(cells)
    measured = records_of(scores)
    attached = [attach_fit_seconds(cell_records, measured)]
    if win_rates is not None:
        attached.append(attach_win_rates(cell_records, records_of(win_rates)))
    if groups is not None:
        attached.append(attach_group_scores(cell_records, records_of(groups)))
    visible = [score for score in measured if not score["metric"].startswith(EVIDENCE_PREFIX)]
    score_records = visible + [score for source in attached for score in source.scores]
    if sort_by is not None and sort_by not in (metric_ids := sorted({score["metric"] for score in score_records})):
        near = difflib.get_close_matches(sort_by, metric_ids, n=2, cutoff=0.5)
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        available = ", ".join(metric_ids) or "none"
        raise StoreError(f"No cell here has the metric {sort_by!r}.{meant} Available: {available}.")
    scores_of_cell = grouped(score_records, lambda score: score["cell_id"])
    members = grouped(cell_records, BoardKey.of)
    boards = []
    for key in sorted(members):
        board_cells, left_out = (members[key], []) if sweeps else without_sweeps(members[key])
        notes = trial_notes(board_cells) + _set_notes(key, members)
        notes += [note for source in attached for note in source.notes_of(board_cells)] + left_out
        boards.append(_board(board_cells, scores_of_cell, notes, sort_by))
    return boards


def _set_notes(key: BoardKey, keys: Iterable[BoardKey]) -> list[str]:
    """Return notes on the other boards of the same site, with the sets in which they differ from this one."""
    others = [other for other in keys if other[:2] == key[:2] and other != key]
    notes = []
    for index in range(2, len(key)):
        # The first difference is enough to explain a board: a different data set has different splits anyway.
        seen = sorted(
            {other[index] for other in others if other[2:index] == key[2:index] and other[index] != key[index]}
        )
        if seen:
            names = ", ".join(name or "(not recorded)" for name in seen)
            notes.append(
                f"Cells of different {PLURALS[index]} are not ranked together: this board is "
                f"{key[index] or '(not recorded)'}; other boards of this site: {names}."
            )
    return notes


def _board(
    cells: list[dict[str, Any]],
    scores_of_cell: Mapping[str, list[dict[str, Any]]],
    notes: list[str],
    sort_by: str | None,
) -> Board:
    head = cells[0]
    # A failed cell may have left scores behind; a mean over partial cells would not be comparable.
    board_scores = [
        {**score, "cell": cell, "variant": variant_of(score, cell)}
        for cell in cells
        if cell["status"] == "finished"
        for score in scores_of_cell.get(cell["cell_id"], [])
        if score["value"] is not None
    ]
    columns, key_of, column_notes = columns_of(board_scores, head["evaluation_fingerprint"])
    rows, row_notes = _rows(cells, board_scores, columns, key_of)
    visible_columns = [column for column in columns if not column.metric.startswith(FLOOR_PREFIX)]
    titles = [cell["backbone_title"] for cell in cells if cell["backbone_title"]]
    return Board(
        **{name: head[name] for name in BoardKey._fields},
        backbone_title=titles[0] if titles else head["backbone"],
        columns=tuple(visible_columns),
        rows=tuple(_sorted_rows(_ranked(rows, visible_columns), visible_columns, sort_by)),
        floors=tuple(_floors(board_scores, columns, key_of)),
        notes=tuple(notes + column_notes + row_notes + _sort_note(visible_columns, sort_by)),
    )


def _rows(
    cells: Sequence[Mapping[str, Any]],
    board_scores: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    key_of: Mapping[tuple[str, Variant], str],
) -> tuple[list[Row], list[str]]:
    cells_of = grouped(cells, lambda cell: (cell["label"], cell["config_id"]))
    # One score per row, column and pair of seeds. Cells are in the order in which they were started, so of two with
    # the same seeds (run again under another identity) the newer one stays.
    by_seed: dict[tuple[str, str], dict[str, dict[Seeds, Mapping[str, Any]]]] = {}
    notes: list[str] = []
    for score in board_scores:
        row = (score["cell"]["label"], score["cell"]["config_id"])
        seeds = by_seed.setdefault(row, {}).setdefault(key_of[score["metric"], score["variant"]], {})
        seed = seeds_of(score["cell"])
        if seed in seeds:
            notes.append(
                f"{row[0]} has more than one cell with {_seed_text(score['cell'])}; only the newest is in its means."
            )
        seeds[seed] = score
    column_of = {column.key: column for column in columns}
    rows = []
    for (label, config_id), row_cells in cells_of.items():
        failed = [cell for cell in row_cells if cell["status"] == "failed"]
        counted = averaged({seeds_of(cell) for cell in row_cells})
        if repeats := sorted({init for _, init in {seeds_of(cell) for cell in row_cells} - counted}):
            notes.append(
                f"Cells of init seed {', '.join(map(str, repeats))} were not run on every token set: they count for "
                "stability, and are in no other mean."
            )
        metrics: dict[str, Aggregate] = {}
        undefined: dict[str, int] = {}
        for key, seeds in by_seed.get((label, config_id), {}).items():
            if key.startswith(FLOOR_PREFIX):
                continue
            of_cells = [
                score for _, score in sorted(seeds.items()) if seeds_of(score["cell"]) in counted or _pooled(score)
            ]
            if not of_cells:
                continue
            aggregate = _aggregate(of_cells, column_of[key])
            if aggregate is None:
                undefined[key] = len(of_cells)
            else:
                metrics[key] = aggregate
        rows.append(
            Row(
                label=label,
                title=_title(row_cells[0], [group[0] for group in cells_of.values() if group[0]["label"] == label]),
                method=row_cells[0]["method"],
                config_id=config_id,
                cell_ids=tuple(sorted(cell["cell_id"] for cell in row_cells)),
                n_finished=len(row_cells) - len(failed),
                n_failed=len(failed),
                errors=tuple(
                    f"{cell['error_type'] or 'Error'}: {cell['error_message'] or 'no message'} ({_seed_text(cell)})"
                    for cell in sorted(failed, key=seeds_of)
                ),
                metrics=metrics,
                undefined=undefined,
            )
        )
    return rows, list(dict.fromkeys(notes))


def _pooled(score: Mapping[str, Any]) -> bool:
    """Return whether a score is of several cells, and only attached to one of them."""
    return score.get("values") is not None or score.get("interval") is not None


def _title(cell: Mapping[str, Any], same_label: Sequence[Mapping[str, Any]]) -> str:
    if len(same_label) == 1:
        return str(cell["label"])
    text = difference(cell["config"] or {}, [other["config"] or {} for other in same_label])
    if not text or len(text) > 40:
        text = cell["config_id"][:8]
    return f"{cell['label']} ({text})"


def _seed_text(cell: Mapping[str, Any]) -> str:
    seeds = [f"{kind} seed {cell[f'{kind}_seed']}" for kind in ("token", "init") if cell[f"{kind}_seed"] is not None]
    return ", ".join(seeds) or "no seed"


def _aggregate(scores: Sequence[Mapping[str, Any]], column: Column) -> Aggregate | None:
    # A score of several cells has one value per pair of them.
    listed = [score.get("values") or [score["value"]] for score in scores]
    values = [
        float(value)
        for cell_values in listed
        for value in cell_values
        if isinstance(value, (int, float)) and math.isfinite(value)
    ]
    if not values:
        return None
    uncertainties = [score["uncertainty"] for score in scores if score["uncertainty"] is not None]
    errors = [float(error) for error in uncertainties if math.isfinite(error)]
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
        n_observations=scores[0].get("n") if scores[0].get("interval") else None,
        pairs_error=pairs_error([score.get("values") or [] for score in scores]),
    )


def _ranked(rows: Sequence[Row], columns: Sequence[Column]) -> list[Row]:
    metrics = [dict(row.metrics) for row in rows]
    for column in columns:
        if column.direction == "none":
            continue
        sign = -1.0 if column.direction == "higher" else 1.0
        displayed = {
            index: sign * column.display_value(aggregates[column.key].mean)
            for index, aggregates in enumerate(metrics)
            if column.key in aggregates
        }
        levels = sorted(set(displayed.values()))
        for index, value in displayed.items():
            # If all values are tied, none is best.
            mark = {0: "best", 1: "second"}.get(levels.index(value)) if len(levels) > 1 else None
            rank = 1 + sum(other < value for other in displayed.values())
            metrics[index][column.key] = dataclasses.replace(metrics[index][column.key], rank=rank, mark=mark)
    return [dataclasses.replace(row, metrics=aggregates) for row, aggregates in zip(rows, metrics, strict=True)]


def _sorted_rows(rows: Sequence[Row], columns: Sequence[Column], sort_by: str | None) -> list[Row]:
    candidates = [column for column in columns if column.is_called(sort_by)]
    candidates += [column for column in columns if column.metric == HEADLINE]
    candidates += [column for column in columns if column.direction != "none"]
    if not candidates:
        return sorted(rows, key=lambda row: (row.title, row.config_id))
    chosen = candidates[0]
    sign = 1.0 if chosen.direction == "lower" else -1.0

    def position(row: Row) -> tuple[bool, float, str, str]:
        aggregate = row.metrics.get(chosen.key)
        return aggregate is None, sign * aggregate.mean if aggregate else 0.0, row.title, row.config_id

    return sorted(rows, key=position)


def _sort_note(columns: Sequence[Column], sort_by: str | None) -> list[str]:
    if sort_by is None or any(column.is_called(sort_by) for column in columns):
        return []
    instead = next((column.key for column in columns if column.metric == HEADLINE), "the first metric with a direction")
    return [f"This board lacks {sort_by}; its rows are sorted by {instead}."]


def _floors(
    board_scores: Sequence[Mapping[str, Any]], columns: Sequence[Column], key_of: Mapping[tuple[str, Variant], str]
) -> list[Floor]:
    floors = []
    scores_of = grouped(board_scores, lambda score: key_of[score["metric"], score["variant"]])
    for column in columns:
        if column.metric.startswith(FLOOR_PREFIX):
            values = [float(score["value"]) for score in scores_of[column.key] if math.isfinite(score["value"])]
            if values:
                floors.append(Floor(column=column, low=min(values), high=max(values)))
    return floors
