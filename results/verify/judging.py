"""Checks of tournaments and group scores: possible numbers that agree with a recount of the stored replies."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from results.store import group_scores, judgments
from results.store.records import consensus_of_answers, grouped, records_of, win_rate_version
from results.verify.base import TOLERANCE, Checker, Content, check
from results.verify.scores import bounds_of


@check("groups")
def groups(content: Content, checker: Checker) -> None:
    """Check that scores of several cells are within their bounds, and the means of their pairs."""
    for row in records_of(group_scores.group_scores(content.store)):
        value = row["value"]
        if value is not None and not math.isnan(value):
            low, high = bounds_of(row)
            holds = math.isfinite(value) and low - TOLERANCE <= value <= high + TOLERANCE
            reason = f"is {value:g}; it must be between {low:g} and {high:g}."
            checker.require(holds, f"{row['metric']} of {row['label']}", reason)
            pairs = (row["details"] or {}).get("pairs")
            if isinstance(pairs, list) and pairs and all(isinstance(one, (int, float)) for one in pairs):
                mean = sum(pairs) / len(pairs)
                reason = f"is {value:.6f}, and the mean over its {len(pairs)} pairs of cells is {mean:.6f}."
                checker.require(abs(value - mean) < TOLERANCE, f"{row['metric']} of {row['label']}", reason)


@check("tournaments")
def tournaments(content: Content, checker: Checker) -> None:
    """Check that win rates lie in [0, 1] and in their intervals, and are ranked.

    They sum to n/2 if all pairs of methods have a decided comparison (version 1: if all have as many comparisons).
    """
    for tournament, rows in _rows(content).items():
        where = _where(tournament, rows)
        pooled = _version(rows) < 2
        for row in rows:
            if row["win_rate"] is not None:
                _check_rate(row, rows, f"{row['label']} in {where}", checker)
                if pooled and row["n"] and row["wins"] is not None:
                    reason = f"won {row['wins']} of {row['n']}, but has the win rate {row['win_rate']:g}."
                    holds = abs(row["wins"] / row["n"] - row["win_rate"]) < TOLERANCE
                    checker.require(holds, f"{row['label']} in {where}", reason)
        rated = [row for row in rows if row["win_rate"] is not None]
        if len(rated) > 1:
            wins, n = sum(row["wins"] or 0 for row in rated), sum(row["n"] or 0 for row in rated)
            reason = f"has {wins} wins over {n} appearances in comparisons; it must be half."
            checker.require(2 * wins == n, where, reason)
            n_pairs = len(rated) * (len(rated) - 1) // 2
            if len({row["n"] for row in rated}) == 1 if pooled else rows[0]["n_meetings"] == n_pairs:
                total = sum(row["win_rate"] for row in rated)
                reason = (
                    f"has win rates that sum to {total:.6f}; {len(rated)} methods that all met sum to "
                    f"{len(rated) / 2:g}."
                )
                checker.require(abs(total - len(rated) / 2) < TOLERANCE, where, reason)


def _check_rate(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], row_name: str, checker: Checker) -> None:
    """Check that a win rate is a fraction in its intervals, and that the rank follows from the rates."""
    rate = row["win_rate"]
    checker.require(0 <= rate <= 1, row_name, f"has the win rate {rate:g}.")
    for name, low, high in (
        ("interval", row["ci_low"], row["ci_high"]),
        ("interval for new units", row["new_low"], row["new_high"]),
    ):
        if low is not None and high is not None:
            reason = f"has the win rate {rate:g} outside its {name} [{low:g}, {high:g}]."
            checker.require(low - TOLERANCE <= rate <= high + TOLERANCE, row_name, reason)
    if row["rank"] is not None:
        # Equal rates that differ in the last bit had different ranks in earlier versions.
        better, as_good = (sum((other["win_rate"] or 0) > rate + gap for other in rows) for gap in (1e-12, -1e-12))
        reason = f"has the rank {row['rank']}, but {better} have a larger win rate."
        checker.require(better < row["rank"] <= max(as_good, better + 1), row_name, reason)


@check("recount")
def recount(content: Content, checker: Checker) -> None:
    """Check that wins, comparisons, ties and win rates equal a recount of the stored replies."""
    for tournament, rows in _rows(content).items():
        where = _where(tournament, rows)
        owner = {cell_id: index for index, row in enumerate(rows) for cell_id in row["cell_ids"]}
        questions = records_of(judgments.judgments(content.store, tournament))
        checker.require(bool(questions), where, "has win rates, but its comparisons are not in the store.")
        answered_by = consensus_of_answers(rows[0]["settings"])
        missing = _n_unanswered(questions) if answered_by else sum(not row["replied"] for row in questions)
        lost = missing - (rows[0]["n_missing"] or 0)
        checker.require(lost <= 0, where, f"was counted from {lost} replies that are no longer in the store.")
        # Fewer are missing if some came later (of an interrupted run, or requested by another tournament).
        if not questions or lost:
            continue
        pooled = _version(rows) < 2
        counted = _counted([row for row in questions if row["replied"] or not answered_by], owner, pooled, answered_by)
        for index, row in enumerate(rows):
            recounted = counted.wins[index], counted.decided[index], counted.ties[index]
            stored = row["wins"], row["n"], row["ties"]
            reason = "has {} wins in {} comparisons and {} ties, and a recount of its replies gives {}, {} and {}."
            checker.require(recounted == stored, f"{row['label']} in {where}", reason.format(*stored, *recounted))
            if not pooled and row["win_rate"] is not None:
                rate = counted.mean_rate(index)
                reason = f"has the win rate {row['win_rate']:g}, and the mean over its opponents is {rate:g}."
                checker.require(abs(rate - row["win_rate"]) < TOLERANCE, f"{row['label']} in {where}", reason)


class _Recount(NamedTuple):
    """Recounted comparisons of the rows of a tournament."""

    wins: Counter[int]
    decided: Counter[int]
    ties: Counter[int]
    """comparisons without a consensus"""
    wins_against: Counter[tuple[int, int]]
    decided_against: Counter[tuple[int, int]]

    def mean_rate(self, index: int) -> float:
        """Return the mean over opponents of a row's share of the decided comparisons; NaN without any."""
        rates = [self.wins_against[pair] / n for pair, n in self.decided_against.items() if pair[0] == index]
        return sum(rates) / len(rates) if rates else math.nan


def _n_unanswered(questions: Sequence[Mapping[str, Any]]) -> int:
    """Return the number of comparisons that nobody answered."""
    presented = {(row["pair_id"], row["order"]) for row in questions}
    return len(presented - {(row["pair_id"], row["order"]) for row in questions if row["replied"]})


def _counted(
    questions: Sequence[Mapping[str, Any]], owner: Mapping[str, int], pooled: bool, answered_by: bool
) -> _Recount:
    """Count the comparisons; controls are left out.

    A comparison is decided by more than half of the judges, of panels that judges join freely (``answered_by``) by more
    than half of those who answered it, in the first version (``pooled``) by more valid votes.
    """
    n_judges = len({row["judge"] for row in questions})
    votes: dict[tuple[str, int], tuple[int, int, Counter[str]]] = {}
    for row in questions:
        if row["cell_a"] in owner and row["cell_b"] in owner:
            sides = owner[row["cell_a"]], owner[row["cell_b"]]
            votes.setdefault((row["pair_id"], row["order"]), (*sides, Counter()))[2][row["answer"]] += 1
    result = _Recount(Counter(), Counter(), Counter(), Counter(), Counter())
    for first, second, answers in votes.values():
        if first == second:
            continue
        best, other = ("A", "B") if answers["A"] >= answers["B"] else ("B", "A")
        most, least = answers[best], answers[other]
        if most <= (least if pooled else (answers.total() if answered_by else n_judges) / 2):
            result.ties.update((first, second))
            continue
        winner, loser = (first, second) if best == "A" else (second, first)
        result.wins[winner] += 1
        result.decided.update((first, second))
        result.wins_against[winner, loser] += 1
        result.decided_against.update(((first, second), (second, first)))
    return result


def _version(rows: Sequence[Mapping[str, Any]]) -> int:
    """Return the version of the win rate by which a tournament was scored."""
    return win_rate_version(rows[0]["settings"])


def _rows(content: Content) -> dict[str, list[dict[str, Any]]]:
    """Return the win rates of each tournament."""
    return grouped(records_of(judgments.win_rates(content.store)), itemgetter("tournament"))


def _where(tournament: str, rows: Sequence[Mapping[str, Any]]) -> str:
    return f"tournament {tournament[:8]} ({rows[0]['panel']})"
