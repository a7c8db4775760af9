"""Checks of tournaments and group scores: possible numbers that agree with a recount of the stored replies."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from results.store import group_scores, judgments
from results.store.records import grouped, records_of
from results.verify.base import TOLERANCE, Checker, Content, check
from results.verify.scores import bounds_of


@check("groups")
def groups(content: Content, checker: Checker) -> None:
    """Check that scores of several cells are within their bounds."""
    for row in records_of(group_scores.group_scores(content.store)):
        value = row["value"]
        if value is not None and not math.isnan(value):
            low, high = bounds_of(row)
            holds = math.isfinite(value) and low - TOLERANCE <= value <= high + TOLERANCE
            reason = f"is {value:g}; it must be between {low:g} and {high:g}."
            checker.require(holds, f"{row['metric']} of {row['label']}", reason)


@check("tournaments")
def tournaments(content: Content, checker: Checker) -> None:
    """Check that win rates lie in [0, 1] and in their intervals, and are ranked.

    They sum to n/2 if all have as many comparisons.
    """
    for tournament, rows in _rows(content).items():
        where = _where(tournament, rows)
        for row in rows:
            rate, low, high = row["win_rate"], row["ci_low"], row["ci_high"]
            row_name = f"{row['label']} in {where}"
            if rate is None:
                continue
            checker.require(0 <= rate <= 1, row_name, f"has the win rate {rate:g}.")
            if low is not None and high is not None:
                reason = f"has the win rate {rate:g} outside its interval [{low:g}, {high:g}]."
                checker.require(low - TOLERANCE <= rate <= high + TOLERANCE, row_name, reason)
            if row["n"] and row["wins"] is not None:
                reason = f"won {row['wins']} of {row['n']}, but has the win rate {rate:g}."
                checker.require(abs(row["wins"] / row["n"] - rate) < TOLERANCE, row_name, reason)
            if row["rank"] is not None:
                better = sum((other["win_rate"] or 0) > rate + 1e-12 for other in rows)
                reason = f"has the rank {row['rank']}, but {better} have a larger win rate."
                checker.require(row["rank"] == better + 1, row_name, reason)
        rated = [row for row in rows if row["win_rate"] is not None]
        if len(rated) > 1:
            wins, n = sum(row["wins"] or 0 for row in rated), sum(row["n"] or 0 for row in rated)
            reason = f"has {wins} wins over {n} appearances in comparisons; it must be half."
            checker.require(2 * wins == n, where, reason)
            if len({row["n"] for row in rated}) == 1:
                total = sum(row["win_rate"] for row in rated)
                reason = (
                    f"has win rates that sum to {total:.6f}; {len(rated)} methods with as many comparisons sum to "
                    f"{len(rated) / 2:g}."
                )
                checker.require(abs(total - len(rated) / 2) < TOLERANCE, where, reason)


@check("recount")
def recount(content: Content, checker: Checker) -> None:
    """Check that wins, comparisons and ties equal a recount of the stored replies."""
    for tournament, rows in _rows(content).items():
        where = _where(tournament, rows)
        owner = {cell_id: index for index, row in enumerate(rows) for cell_id in row["cell_ids"]}
        questions = records_of(judgments.judgments(content.store, tournament))
        checker.require(bool(questions), where, "has win rates, but its comparisons are not in the store.")
        missing = sum(not row["replied"] for row in questions)
        lost = missing - (rows[0]["n_missing"] or 0)
        checker.require(lost <= 0, where, f"was counted from {lost} replies that are no longer in the store.")
        # Fewer are missing if some came later (of an interrupted run, or requested by another tournament).
        if not questions or lost:
            continue
        wins, decided, ties = _counted(questions, owner)
        for index, row in enumerate(rows):
            recounted, stored = (wins[index], decided[index], ties[index]), (row["wins"], row["n"], row["ties"])
            reason = "has {} wins in {} comparisons and {} ties, and a recount of its replies gives {}, {} and {}."
            checker.require(recounted == stored, f"{row['label']} in {where}", reason.format(*stored, *recounted))


def _counted(
    questions: Sequence[Mapping[str, Any]], owner: Mapping[str, int]
) -> tuple[Counter[int], Counter[int], Counter[int]]:
    """Return wins, decided comparisons and ties of each row; an equal vote is a tie, controls are left out."""
    votes: dict[tuple[str, int], list[Any]] = {}
    for row in questions:
        if row["cell_a"] in owner and row["cell_b"] in owner:
            entry = votes.setdefault((row["pair_id"], row["order"]), [owner[row["cell_a"]], owner[row["cell_b"]], 0])
            entry[2] += {"A": 1, "B": -1}.get(row["answer"], 0)
    wins, decided, ties = Counter[int](), Counter[int](), Counter[int]()
    for first, second, balance in votes.values():
        if first == second:
            continue
        (decided if balance else ties).update((first, second))
        if balance:
            wins[first if balance > 0 else second] += 1
    return wins, decided, ties


def _rows(content: Content) -> dict[str, list[dict[str, Any]]]:
    """Return the win rates of each tournament."""
    return grouped(records_of(judgments.win_rates(content.store)), itemgetter("tournament"))


def _where(tournament: str, rows: Sequence[Mapping[str, Any]]) -> str:
    return f"tournament {tournament[:8]} ({rows[0]['panel']})"
