"""Scores of several cells as columns of a board.

A group score (stability over init seeds, sensitivity to the token seed) is not a property of one cell. A board takes,
for each of its rows and each metric, the group with most cells (the newest of several) on each token set or init seed,
and only groups whose cells are all on it. The values of the pairs replace the values over seeds, so mean and spread are
over pairs.

Needs only the standard library.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from results.boards.board import AttachedScores, BoardKey
from results.boards.seeds import seeds_of
from results.store.stability_versions import counts_every_atom


def attach_group_scores(cells: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> AttachedScores:
    """Return one score per group that the boards of `cells` show, attached to the first cell of the group.

    Of a group that was measured by several versions of a metric, only the newest is shown.

    Args:
        cells: rows of `Store.cells()`.
        rows: rows of `group_scores.group_scores()`, in the order of measurement.
    """
    finished = {cell["cell_id"]: cell for cell in cells if cell["status"] == "finished"}
    best: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for row in rows:
        if not row["cell_ids"] or not all(cell_id in finished for cell_id in row["cell_ids"]):
            continue
        head = finished[row["cell_ids"][0]]
        # The label is taken from the cell: a later run may have changed it.
        parts = (head["label"], row["config_id"], row["metric"], (row["details"] or {}).get("on"))
        key = (*BoardKey.of(head), *map(str, parts))
        if key not in best or _preference(row) >= _preference(best[key]):
            best[key] = row
    scores: list[dict[str, Any]] = []
    notes: dict[str, list[str]] = {}
    for row in best.values():
        cell = min((finished[cell_id] for cell_id in row["cell_ids"]), key=seeds_of)
        scores.append(_score(row, cell["cell_id"]))
        notes.setdefault(cell["cell_id"], []).extend(_notes(row, cell))
    return AttachedScores(scores, notes)


def _preference(row: Mapping[str, Any]) -> tuple[int, int]:
    return int(row["version"]), len(row["cell_ids"])


def _score(row: Mapping[str, Any], cell_id: str) -> dict[str, Any]:
    return {
        **row,
        "cell_id": cell_id,
        "values": (row["details"] or {}).get("pairs"),
        **dict.fromkeys(("uncertainty", "evaluation_fingerprint", "panel")),
    }


def pairs_error(groups: Sequence[Sequence[Any]]) -> tuple[float, int] | None:
    """Return the standard error of the mean over all pairs of runs of several groups, and its degrees of freedom.

    Pairs that share a run are not independent: with values ``x_i + x_j`` the standard deviation over pairs, divided by
    the root of their number, is half of the mean's true error for three runs, and less for more. So runs are left out
    one at a time (jackknife): ``(R - 1) / R * sum_i (m_i - mean m)^2`` for R runs of a group and m_i the mean of the
    pairs without run i. Exact for sums, too large rather than too small otherwise.

    Args:
        groups: of each group the values of its pairs, in the order of ``itertools.combinations``.

    Returns:
        None if a group has fewer than three runs, or a value that is not a number.
    """
    n = sum(map(len, groups))
    variance, freedom = 0.0, 0
    for values in groups:
        runs = (1 + math.isqrt(1 + 8 * len(values))) // 2
        all_finite = all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)
        if runs < 3 or not all_finite or runs * (runs - 1) // 2 != len(values):
            return None
        pairs = list(zip(itertools.combinations(range(runs), 2), values, strict=True))
        n_without = len(pairs) - runs + 1
        without = [sum(value for pair, value in pairs if run not in pair) / n_without for run in range(runs)]
        middle = sum(without) / runs
        jackknife_variance = (runs - 1) / runs * sum((value - middle) ** 2 for value in without)
        variance += (len(values) / n) ** 2 * jackknife_variance
        freedom += runs - 1
    return (math.sqrt(variance), freedom) if freedom else None


def _notes(row: Mapping[str, Any], cell: Mapping[str, Any]) -> list[str]:
    """Return the notes on one row's group: what was compared and counted, what was left out, and the chance level."""
    details = row["details"] or {}
    # What `stability_alive` leaves out, and what `stability_writer` counts, is in the note on `stability`.
    if row["metric"] in ("stability_alive", "stability_writer") or not details:
        return []
    atoms, left_out = details.get("atoms") or [], details.get("left_out") or []
    pairs = f"{row['n']} pair{'' if row['n'] == 1 else 's'}"
    parts = [f"{row['metric']} of {cell['label']}: {pairs}, {details.get('matching')}, {_range(atoms)} atoms"]
    parts += _counted(row["metric"], details) if counts_every_atom(row) else []
    parts += _left_out(row, left_out)
    if details.get("chance") is not None:
        parts.append(f"chance level (random dictionaries of the same shape): {details['chance']:.3f}")
    return ["; ".join(parts) + "."]


def _counted(metric: str, details: Mapping[str, Any]) -> list[str]:
    """Return the numbers of counted atoms that `stability_alive` leaves out, and of atoms without a partner."""
    apart = " (not in stability_alive)" if metric == "stability" else ""
    silent, zero, unmatched = (details.get(name) or [] for name in ("silent", "zero", "unmatched"))
    parts = []
    if any(silent):
        parts.append(f"silent on the evaluation split, but counted{apart}, per run: {_range(silent)}")
    if any(zero) and not any(details.get("left_out") or []):
        parts.append(f"of length zero, counted with cosine 0{apart}, per run: {_range(zero)}")
    if any(unmatched):
        parts.append(f"without a partner, and penalised, per pair: {_range(unmatched)}")
    return parts


def _left_out(row: Mapping[str, Any], left_out: Sequence[int]) -> list[str]:
    if not any(left_out):
        return []
    if counts_every_atom(row):
        return [f"sub-units of length zero left out of each run: {_range(left_out)}"]
    return [
        f"dead units left out of each run: {_range(left_out)}, by version {row['version']} of the metric; "
        "`harness stability` measures the newest version"
    ]


def _range(counts: Sequence[int]) -> str:
    few, many = min(counts, default=0), max(counts, default=0)
    return str(few) if few == many else f"{few} to {many}"
