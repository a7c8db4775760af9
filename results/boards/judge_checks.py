"""Reliability of judges in words: a verdict per judge with its reason, and the agreement of a panel.

A judge that sees the same two grids in both orders should choose the same one. Random answers do so for half of the
pairs, and a judge that prefers one position for fewer. Verdicts compare 95 % intervals (Wilson) with these values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from results.boards.share_intervals import share_at
from results.minus_sign import with_minus

SOUND, BIASED, AT_CHANCE = "sound", "position bias", "at chance"
INVALID, UNKNOWN = "often invalid", "unknown"
#: Of a proxy, which chooses the same grid in both orders by construction.
ABOVE_CHANCE = "above chance"
#: Share of the answers "A" that differs from one half by less is no position bias worth a warning.
_TOLERATED = 0.1
#: Larger share of invalid answers is a warning.
_MOST_INVALID = 0.2
_Z = 1.96


class JudgeVerdict(NamedTuple):
    """Verdict on one judge."""

    judge: str
    verdict: str
    """one of the constants of this module"""
    reason: str
    """one sentence"""


def judge_verdict(health: Mapping[str, Any]) -> JudgeVerdict:
    """Return the verdict on a judge from its row of `tournaments.health`, as a store from anyone may hold it."""
    verdict = _verdict(health)
    if not verdict.judge.startswith("people/"):
        return verdict
    reason = re.sub(r"^It\b", "This person", verdict.reason).replace("; it agrees", ", and agrees")
    reason = re.sub(r"\bits (\d+ )?answers", r"their \1answers", reason)
    return verdict._replace(reason=reason)


def _verdict(health: Mapping[str, Any]) -> JudgeVerdict:
    judge = str(health.get("judge") or "a judge without a name")
    n_answers = count_of(health.get("n"))
    invalid, same, bias, agreement = (
        share_of(health.get(name), low)
        for name, low in (("invalid_rate", 0), ("swap_consistency", 0), ("position_bias", -1), ("agreement", 0))
    )
    # Stores of the first version lack the number of pairs; each pair is two answers.
    n_pairs = n_answers // 2 if health.get("n_swaps") is None else count_of(health["n_swaps"])
    others = f"; it agrees with {agreement:.0%} of the other judges' votes (chance is 50%)" if agreement else ""
    if not n_answers:
        return JudgeVerdict(judge, UNKNOWN, "It has not answered yet.")
    if invalid is not None and invalid > _MOST_INVALID:
        return JudgeVerdict(judge, INVALID, _spaced(f"{invalid:.0%} of its {n_answers} answers are invalid{others}."))
    if same is None or not n_pairs:
        return JudgeVerdict(judge, UNKNOWN, "It has answered no pair in both orders.")
    if judge.startswith("proxy/"):
        verdict, reason = _of_proxy(agreement, n_pairs)
    elif bias is not None and _is_biased(bias, n_answers, same):
        side = "first" if bias > 0 else "second"
        share = (1 + abs(bias)) / 2
        verdict = BIASED
        reason = (
            f"It chooses the {side} grid in {share:.0%} of its answers, and the same one in both orders for {same:.0%}"
        )
    elif share_interval(1.0, n_pairs)[0] <= 0.5:
        verdict = UNKNOWN
        reason = (
            f"It chooses the same grid in both orders for {same:.0%} of {_pairs(n_pairs)}, too few to tell from random "
            "answers"
        )
    elif share_interval(same, n_pairs)[0] <= 0.5:
        verdict = AT_CHANCE
        reason = f"It chooses the same grid in both orders for {same:.0%} of {_pairs(n_pairs)}; random answers, for 50%"
    else:
        verdict = SOUND
        reason = (
            f"It chooses the same grid in both orders for {same:.0%} of {_pairs(n_pairs)}, without a preferred position"
        )
    return JudgeVerdict(judge, verdict, _spaced(f"{reason}{'' if judge.startswith('proxy/') else others}."))


def agreement_sentence(alpha: float | None, n_judges: int, *, at_chance: bool = False) -> str:
    """Return the agreement of a panel in words; the bounds .667 and .8 are Krippendorff's (Content Analysis, 2004).

    Args:
        alpha: Krippendorff's alpha; None if it is unknown.
        n_judges: number of judges of the panel.
        at_chance: true if the panel cannot be told from random answers (:mod:`results.boards.panel_at_chance`).
    """
    if n_judges == 0:
        return "Nobody has answered yet."
    if n_judges == 1:
        return "A single judge: there is no agreement to measure."
    if alpha is None or not math.isfinite(alpha):
        return "The agreement of the judges is unknown: they have no comparison with two valid answers that vary."
    if at_chance:
        words = "cannot be told from random answers: their win rates say nothing"
    elif alpha < 0.05:
        words = "agree no more than by chance: their win rates say nothing"
    elif alpha < 0.4:
        words = "agree little more than by chance: their win rates are weak evidence"
    elif alpha < 0.667:
        words = "agree moderately: their win rates are some evidence"
    elif alpha < 0.8:
        words = "agree well enough for tentative conclusions"
    else:
        words = "agree well"
    return with_minus(f"The {n_judges} judges {words} (alpha {alpha:.2f}).")


def _of_proxy(agreement: float | None, n_pairs: int) -> tuple[str, str]:
    # An encoder gives the same answer in both orders by construction: only other judges can confirm its votes.
    if agreement is None:
        return UNKNOWN, "There is no other judge whose votes could confirm its own"
    low, high = share_interval(agreement, n_pairs)
    verdict, compared = (AT_CHANCE, "not more than") if low <= 0.5 else (ABOVE_CHANCE, "more than")
    share = f"{agreement:.0%} [{100 * low:.0f}, {100 * high:.0f}]"
    return verdict, f"It agrees with {share} of the other judges' votes, {compared} random answers (50%)"


def _is_biased(bias: float, n_answers: int, same: float) -> bool:
    share = (1 + bias) / 2
    low, high = share_interval(share, n_answers)
    # A judge that mostly follows the position chooses the same grid twice for fewer pairs than a coin.
    return abs(share - 0.5) > _TOLERATED and not low <= 0.5 <= high and same < 1.0


def share_interval(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval (Wilson) of a share of n."""
    low, high = share_at(min(max(share, 0.0), 1.0), n, np.array([-_Z, _Z]))
    return float(low), float(high)


def _pairs(number: int) -> str:
    return "1 pair" if number == 1 else f"{number} pairs"


def share_of(value: Any, low: int) -> float | None:
    """Return a stored number from `low` to 1; None for anything else, also for NaN, which JSON stores as a text."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if low <= value <= 1 else None


def count_of(value: Any) -> int:
    """Return a stored number of things; 0 for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**53:
        return 0
    return int(value)


def _spaced(text: str) -> str:
    """Return a text with a space before percent signs, as everywhere in the app."""
    return text.replace("%", " %")
