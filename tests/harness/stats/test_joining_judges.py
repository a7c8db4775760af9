"""Panels that judges join freely: the majority is that of those who were asked, and a tie is an answer."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from harness.stats import consensus, judge_health, krippendorff_alpha, n_shared_pairs, win_rates

VOTES = {
    # (pair, order): votes of three people; "-" was not asked, "t" is a tie, "?" an invalid reply
    ("p1", 0): "A--",
    ("p1", 1): "-B-",
    ("p2", 0): "AB-",
    ("p2", 1): "AAB",
    ("p3", 0): "t--",
    ("p3", 1): "At-",
    ("p4", 0): "A?B",
    ("p4", 1): "-tA",
}


def frame(votes: dict[tuple[str, int], str], *columns: str) -> pd.DataFrame:
    rows = [
        {
            "pair_id": pair,
            "order": order,
            "method_a": "xy"[order],
            "method_b": "yx"[order],
            "judge": f"j{number}",
            "answer": vote if vote in "AB" else None,
            "attempt": None if vote == "-" else 1,
            "asked": vote != "-",
            "tie": vote == "t",
        }
        for (pair, order), given in votes.items()
        for number, vote in enumerate(given)
    ]
    return pd.DataFrame(rows)[["pair_id", "order", "method_a", "method_b", "judge", "answer", "attempt", *columns]]


def test_more_than_half_of_those_who_were_asked_decide() -> None:
    decided = consensus(frame(VOTES, "asked", "tie"))
    winners = dict(zip(zip(decided["pair_id"], decided["order"], strict=True), decided["winner"], strict=True))
    assert winners == {
        ("p1", 0): "x",
        ("p1", 1): "x",
        ("p2", 0): None,
        ("p2", 1): "y",
        ("p3", 0): None,
        # One vote of two is no majority: the other said that neither is better.
        ("p3", 1): None,
        ("p4", 0): None,
        ("p4", 1): None,
    }
    outcomes = dict(zip(zip(decided["pair_id"], decided["order"], strict=True), decided["outcome"], strict=True))
    assert outcomes["p2", 0] == outcomes["p4", 0] == "tie" and outcomes["p3", 1] == "undecided"


def test_without_the_column_the_majority_is_that_of_all_judges() -> None:
    decided = consensus(frame(VOTES))
    assert decided["winner"].notna().tolist() == [False, False, False, True, False, False, False, False]


def test_if_everybody_was_asked_nothing_changes() -> None:
    votes = {key: given.replace("-", "?") for key, given in VOTES.items()}
    pd.testing.assert_frame_equal(win_rates(frame(votes, "asked")), win_rates(frame(votes)))
    pd.testing.assert_frame_equal(judge_health(frame(votes, "asked")), judge_health(frame(votes)))


def test_a_question_that_was_not_asked_and_a_tie_are_not_invalid() -> None:
    health = judge_health(frame(VOTES, "asked", "tie")).set_index("judge")
    assert health["n"].to_dict() == {"j0": 6, "j1": 6, "j2": 3}
    assert health["ties"].to_dict() == {"j0": 1, "j1": 2, "j2": 0}
    assert health["invalid"].to_dict() == {"j0": 0, "j1": 1, "j2": 0}
    assert health["invalid_rate"]["j1"] == pytest.approx(1 / 6)
    assert health["first_invalid_rate"]["j1"] == pytest.approx(1 / 6) and health["first_invalid_rate"]["j0"] == 0


def test_a_judge_who_has_answered_nothing_has_a_row_without_rates() -> None:
    health = judge_health(frame({("p1", 0): "A-", ("p1", 1): "B-"}, "asked", "tie")).set_index("judge")
    assert health["n"]["j1"] == 0 and math.isnan(health["invalid_rate"]["j1"])
    assert math.isnan(krippendorff_alpha(frame({("p1", 0): "A-", ("p1", 1): "B-"}, "asked")))


def test_pairs_are_shared_if_two_judges_answer_the_same_presentation() -> None:
    # p1 has one answer per order, p3 one answer and a tie; p2 and p4 have two answers to one presentation.
    assert n_shared_pairs(frame(VOTES)) == 2
    control = frame({("p5", 0): "AA"}).assign(method_b="x")
    assert n_shared_pairs(pd.concat([frame(VOTES), control])) == 2
    assert n_shared_pairs(frame({("p1", 0): "A-", ("p1", 1): "-B"})) == 0
