"""Panels whose answers cannot be told from random ones: their win rates have no rank and no mark.

A panel is at chance if at most half of its judges are above chance, or if the panel's agreement is not. A judge is
above chance if the lower end of a 95 % interval (Wilson) is above one half: of the share of unit pairs for which it
chooses the same grid in both orders, or for a proxy, which does so by construction, of the share of the other judges'
votes that equal its own. The agreement (Krippendorff's alpha) is compared as the share ``(1 + alpha) / 2`` of equal
votes, of as many votes as there are unit pairs with two answers: the two orders of a pair, and the pairs of judges, are
not independent.

People may be many with few answers each, and more than half of those who answered decide: their answers are pooled, and
at least one of the two shares must be known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from results.boards.judge_checks import count_of, share_interval, share_of
from results.boards.panel_kind import is_people, is_proxy
from results.minus_sign import with_minus


def at_chance(panel: str, health: Any, alpha: Any, n_shared: Any) -> str:
    """Return why a panel is at chance, as the end of a sentence; "" if it is not, or if its measures are not stored.

    Args:
        panel: id of the panel.
        health: `tournaments.health`, as a store from anyone may hold it.
        alpha: agreement of the panel.
        n_shared: number of unit pairs from which it was computed; None in stores of older versions.
    """
    judges = [row for row in health if isinstance(row, Mapping)] if isinstance(health, Sequence) else []
    answered = [row for row in judges if count_of(row.get("n")) > 0]
    if not answered:
        return ""
    agreement = _of_agreement(panel, answered, alpha, n_shared)
    of_judges = _pooled(answered) if is_people(panel) else _of_most(panel, answered)
    if is_people(panel) and of_judges is None and agreement is None:
        by_two = " or by two people" if len(answered) > 1 else ""
        return f"too few pairs were answered in both orders{by_two} to tell their answers from random ones"
    return with_minus(", and ".join(reason for reason in (of_judges, agreement) if reason))


def _of_agreement(panel: str, answered: Sequence[Mapping[str, Any]], alpha: Any, n_shared: Any) -> str | None:
    """Return the reason if the agreement is not above chance, "" if it is, and None if it is unknown."""
    if len(answered) < 2 or not isinstance(alpha, float) or not math.isfinite(alpha):
        return None
    if isinstance(n_shared, int | float) and not isinstance(n_shared, bool):
        n_pairs = count_of(n_shared)
    else:
        # Older stores: the second most, as many pairs as two judges may have in common; two answers to both orders.
        n_answers = sum(count_of(row.get("n")) for row in answered)
        n_pairs = n_answers // 4 if is_people(panel) else sorted(map(_n_pairs, answered))[-2]
    # Of people, who share questions by accident, full agreement on a few would say as little.
    if not n_pairs or (is_people(panel) and share_interval(1.0, n_pairs)[0] <= 0.5):
        return None
    if share_interval((1 + alpha) / 2, n_pairs)[0] > 0.5:
        return ""
    pairs = "1 pair" if n_pairs == 1 else f"{n_pairs} pairs"
    return f"the judges' agreement (alpha {alpha:.2f} for {pairs}) is not above that of random answers"


def _of_most(panel: str, answered: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the reason if at most half of the judges are above chance, "" if more are, and None if it is unknown."""
    measure, words = (
        ("agreement", "votes as the others do")
        if is_proxy(panel)
        else ("swap_consistency", "chooses the same grid in both orders")
    )
    measured = [row for row in answered if share_of(row.get(measure), 0) is not None]
    if not measured:
        return None
    n_above = sum(_is_above(row, measure) for row in measured)
    if 2 * n_above > len(measured):
        return ""
    which = f"only {n_above}" if n_above else "none"
    who = "its only judge does not" if len(measured) == 1 else f"{which} of {len(measured)} judges"
    verb = words.replace("chooses", "choose").replace("votes", "vote") if len(measured) == 1 else words
    return f"{who} {verb} more often than random answers would"


def _pooled(answered: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the reason if people together choose the same grid in both orders no more often than by chance.

    It is "" if they do so more often, and None if no pair was answered in both orders.
    """
    measured = [row for row in answered if share_of(row.get("swap_consistency"), 0) is not None]
    n_pairs = sum(map(_n_pairs, measured))
    if not n_pairs:
        return None
    same = sum((share_of(row.get("swap_consistency"), 0) or 0.0) * _n_pairs(row) for row in measured) / n_pairs
    if share_interval(same, n_pairs)[0] > 0.5:
        return ""
    share = f"{100 * same:.0f} % of {'1 pair' if n_pairs == 1 else f'{n_pairs} pairs'}"
    why = "too few to tell from random answers" if same > 0.5 else "no more than by chance"
    return f"they choose the same grid in both orders for {share}, {why}"


def _is_above(row: Mapping[str, Any], measure: str) -> bool:
    share, n_pairs = share_of(row.get(measure), 0), _n_pairs(row)
    return share is not None and n_pairs > 0 and share_interval(share, n_pairs)[0] > 0.5


def _n_pairs(row: Mapping[str, Any]) -> int:
    # Stores of the first version lack the number of pairs; each pair is two answers.
    return count_of(row["n_swaps"]) if row.get("n_swaps") is not None else count_of(row.get("n")) // 2
