"""Rows that may be ranked together, their means over seeds, and their ranks.

Two scores that differ in metric version, parameters, judge panel, evaluation set or, for time and memory, in device
are never ranked together: they become separate columns or separate boards, and a note says why.

Importing this module needs only the standard library, so that `import results` stays light.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from results.boards.board import Aggregate, Board, Column, Floor, Row, board_frame, board_json
from results.boards.columns import Variant, columns_of, difference, variant_of
from results.boards.group_columns import GroupedScores, grouped_scores, pairs_error
from results.boards.seeds import averaged, without_sweeps
from results.boards.text import render_text
from results.boards.trials import trial_notes
from results.boards.win_rate_columns import JudgedScores, judged_scores
from results.errors import StoreError
from results.store.records import records_of

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

    Args:
        cells: cells that may be on the boards.
        scores: scores of these cells.
        sort_by: metric id to sort rows by; default ms_score.
        win_rates: win rates of judged contests.
        groups: scores of several cells together.
        sweeps: show cells of sweeps beside other cells.

    Raises:
        StoreError: no score is of the metric `sort_by`.
    """
    judged = judged_scores(records_of(cells), records_of(win_rates)) if win_rates is not None else JudgedScores([], {})
    grouped = grouped_scores(records_of(cells), records_of(groups)) if groups is not None else GroupedScores([], {})
    measured = [score for score in records_of(scores) if not score["metric"].startswith(EVIDENCE_PREFIX)]
    score_records = measured + judged.scores + grouped.scores
    if sort_by is not None and sort_by not in (known := sorted({score["metric"] for score in score_records})):
        near = difflib.get_close_matches(sort_by, known, n=2, cutoff=0.5)
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        raise StoreError(f"No cell here has the metric {sort_by!r}.{meant} There are: {', '.join(known) or 'none'}.")
    scores_of_cell: dict[str, list[dict[str, Any]]] = {}
    for score in score_records:
        scores_of_cell.setdefault(score["cell_id"], []).append(score)
    members: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for cell in records_of(cells):
        members.setdefault(_group_of(cell), []).append(cell)
    boards = []
    for group in sorted(members):
        own, left_out = (members[group], []) if sweeps else without_sweeps(members[group])
        notes = trial_notes(own) + _set_notes(group, members) + judged.notes_of(own) + grouped.notes_of(own) + left_out
        boards.append(_board(own, scores_of_cell, notes, sort_by))
    return boards


_GROUP = ("backbone", "site", "dataset", "evaluation_fingerprint", "probing_fingerprint")


def _group_of(cell: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(cell[name] or "" for name in _GROUP)


def _set_notes(group: tuple[str, ...], groups: Iterable[tuple[str, ...]]) -> list[str]:
    """Return notes on the other boards of the same site, with the sets in which they differ from this one."""
    others = [other for other in groups if other[:2] == group[:2] and other != group]
    notes = []
    for index, what in ((2, "data sets"), (3, "evaluation sets"), (4, "probing sets")):
        # The first difference is enough to explain a board: a different data set has different splits anyway.
        seen = sorted(
            {other[index] for other in others if other[2:index] == group[2:index] and other[index] != group[index]}
        )
        if seen:
            names = ", ".join(name or "(not recorded)" for name in seen)
            notes.append(
                f"Cells of different {what} are not ranked together: this board is "
                f"{group[index] or '(not recorded)'}; on boards of their own: {names}."
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
    found = [
        {**score, "cell": cell, "variant": variant_of(score, cell)}
        for cell in cells
        if cell["status"] == "finished"
        for score in scores_of_cell.get(cell["cell_id"], [])
        if score["value"] is not None
    ]
    columns, key_of, column_notes = columns_of(found, head["evaluation_fingerprint"])
    rows, row_notes = _rows(cells, found, columns, key_of)
    shown = [column for column in columns if not column.metric.startswith(FLOOR_PREFIX)]
    titles = [cell["backbone_title"] for cell in cells if cell["backbone_title"]]
    return Board(
        backbone=head["backbone"],
        backbone_title=titles[0] if titles else head["backbone"],
        site=head["site"],
        dataset=head["dataset"],
        evaluation_fingerprint=head["evaluation_fingerprint"],
        probing_fingerprint=head["probing_fingerprint"],
        columns=tuple(shown),
        rows=tuple(_sorted_rows(_ranked(rows, shown), shown, sort_by)),
        floors=tuple(_floors(found, columns, key_of)),
        notes=tuple(notes + column_notes + row_notes + _sort_note(shown, sort_by)),
    )


def _rows(
    cells: Sequence[Mapping[str, Any]],
    found: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    key_of: Mapping[tuple[str, Variant], str],
) -> tuple[list[Row], list[str]]:
    cells_of: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cell in cells:
        cells_of.setdefault((cell["label"], cell["config_id"]), []).append(cell)
    # One score per row, column and pair of seeds. Cells are in the order in which they were started, so of two with
    # the same seeds (run again under another identity) the newer one stays.
    by_seed: dict[tuple[str, str], dict[str, dict[tuple[int, int], Mapping[str, Any]]]] = {}
    notes: list[str] = []
    for score in found:
        row = (score["cell"]["label"], score["cell"]["config_id"])
        seeds = by_seed.setdefault(row, {}).setdefault(key_of[score["metric"], score["variant"]], {})
        seed = _seeds(score["cell"])
        if seed in seeds:
            notes.append(
                f"{row[0]} has more than one cell with {_seed_text(score['cell'])}; only the newest is in its means."
            )
        seeds[seed] = score
    column_of = {column.key: column for column in columns}
    rows = []
    for (label, config_id), own in cells_of.items():
        failed = [cell for cell in own if cell["status"] == "failed"]
        counted = averaged({_seeds(cell) for cell in own})
        if repeats := sorted({_seeds(cell)[1] for cell in own if _seeds(cell) not in counted}):
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
                score for _, score in sorted(seeds.items()) if _seeds(score["cell"]) in counted or _pooled(score)
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
                title=_title(own[0], [group[0] for group in cells_of.values() if group[0]["label"] == label]),
                method=own[0]["method"],
                config_id=config_id,
                cell_ids=tuple(sorted(cell["cell_id"] for cell in own)),
                n_finished=len(own) - len(failed),
                n_failed=len(failed),
                errors=tuple(
                    f"{cell['error_type'] or 'Error'}: {cell['error_message'] or 'no message'} ({_seed_text(cell)})"
                    for cell in sorted(failed, key=_seeds)
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


def _seeds(cell: Mapping[str, Any]) -> tuple[int, int]:
    # A method without an init seed sorts before seed 0; real seeds are not negative.
    return tuple(-1 if cell[name] is None else int(cell[name]) for name in ("token_seed", "init_seed"))  # type: ignore[return-value]


def _seed_text(cell: Mapping[str, Any]) -> str:
    seeds = [
        f"{name.removesuffix('_seed')} seed {cell[name]}"
        for name in ("token_seed", "init_seed")
        if cell[name] is not None
    ]
    return ", ".join(seeds) or "no seed"


def _aggregate(scores: Sequence[Mapping[str, Any]], column: Column) -> Aggregate | None:
    # A score of several cells has one value per pair of them.
    listed = [score.get("values") or [score["value"]] for score in scores]
    values = [float(value) for own in listed for value in own if isinstance(value, (int, float))]
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return None
    errors = [float(score["uncertainty"]) for score in scores if score["uncertainty"] is not None]
    errors = [error for error in errors if math.isfinite(error)]
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
        shown = {i: sign * column.shown(own[column.key].mean) for i, own in enumerate(metrics) if column.key in own}
        levels = sorted(set(shown.values()))
        for index, value in shown.items():
            # If all values are tied, none is best.
            mark = {0: "best", 1: "second"}.get(levels.index(value)) if len(levels) > 1 else None
            rank = 1 + sum(other < value for other in shown.values())
            metrics[index][column.key] = dataclasses.replace(metrics[index][column.key], rank=rank, mark=mark)
    return [dataclasses.replace(row, metrics=own) for row, own in zip(rows, metrics, strict=True)]


def _sorted_rows(rows: Sequence[Row], columns: Sequence[Column], sort_by: str | None) -> list[Row]:
    candidates = [column for column in columns if sort_by in (column.metric, column.key)]
    candidates += [column for column in columns if column.metric == HEADLINE]
    candidates += [column for column in columns if column.direction != "none"]
    if not candidates:
        return sorted(rows, key=lambda row: (row.title, row.config_id))
    chosen = candidates[0]
    sign = 1.0 if chosen.direction == "lower" else -1.0

    def position(row: Row) -> tuple[bool, float, str, str]:
        own = row.metrics.get(chosen.key)
        return own is None, sign * own.mean if own else 0.0, row.title, row.config_id

    return sorted(rows, key=position)


def _sort_note(columns: Sequence[Column], sort_by: str | None) -> list[str]:
    if sort_by is None or any(sort_by in (column.metric, column.key) for column in columns):
        return []
    instead = next((column.key for column in columns if column.metric == HEADLINE), "the first metric with a direction")
    return [f"This board lacks {sort_by}; its rows are sorted by {instead}."]


def _floors(
    found: Sequence[Mapping[str, Any]], columns: Sequence[Column], key_of: Mapping[tuple[str, Variant], str]
) -> list[Floor]:
    floors = []
    for column in columns:
        if column.metric.startswith(FLOOR_PREFIX):
            values = [
                float(score["value"])
                for score in found
                if key_of[score["metric"], score["variant"]] == column.key and math.isfinite(score["value"])
            ]
            if values:
                floors.append(Floor(column=column, low=min(values), high=max(values)))
    return floors
