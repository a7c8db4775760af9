"""Consensus, win rates, Bradley-Terry and the health of judges: closed forms, properties, recovery."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from harness import stats
from harness.stats.health import alpha_of
from harness.stats.win_rates import ranks
from methods.errors import UserError

Answer = Callable[[str, str, str, int], str | None]


def tournament(methods: str, pairs: int, judges: str, answer: Answer) -> pd.DataFrame:
    rows = [
        (f"{x}{y}{number}", *shown, order, judge, answer(*shown, judge, number))
        for i, x in enumerate(methods)
        for y in methods[i + 1 :]
        for number in range(pairs)
        for order, shown in enumerate(((x, y), (y, x)))
        for judge in judges
    ]
    return pd.DataFrame(rows, columns=["pair_id", "method_a", "method_b", "order", "judge", "answer"])


def planted(seed: int, slope: float = 1.0) -> Answer:
    """Earlier letters are better, with logistic noise of each judge's own."""
    generator = np.random.default_rng(seed)

    def answer(a: str, b: str, judge: str, number: int) -> str:
        return "A" if generator.random() < 1 / (1 + math.exp(-slope * (ord(b) - ord(a)))) else "B"

    return answer


def test_a_judge_that_always_says_a_gives_everybody_a_half_and_is_found_out() -> None:
    frame = tournament("abcd", 20, "xyz", lambda *_: "A")
    rates = stats.win_rates(frame)
    assert rates["win_rate"].tolist() == [0.5] * 4
    assert (rates["ci_low"] == 0.5).all() and (rates["ci_high"] == 0.5).all()
    assert rates["rank"].tolist() == [1] * 4
    assert rates["n"].tolist() == [120] * 4
    health = stats.judge_health(frame)
    assert health["position_bias"].tolist() == [1.0] * 3
    assert health["swap_consistency"].tolist() == [0.0] * 3
    assert np.allclose(stats.bradley_terry(frame)["strength"], 0)


def test_a_planted_order_is_recovered() -> None:
    frame = tournament("dacbe", 60, "xyz", planted(0))
    rates = stats.win_rates(frame)
    assert rates["method"].tolist() == list("abcde")
    assert rates["rank"].tolist() == [1, 2, 3, 4, 5]
    assert ((rates["rank_low"] <= rates["rank"]) & (rates["rank"] <= rates["rank_high"])).all()
    assert ((rates["ci_low"] < rates["win_rate"]) & (rates["win_rate"] < rates["ci_high"])).all()
    strengths = stats.bradley_terry(frame)
    assert strengths["method"].tolist() == list("abcde") and abs(strengths["strength"].sum()) < 1e-9


def test_rates_that_differ_in_the_last_bit_share_the_better_rank() -> None:
    rates = np.array([[0.488888888888889, 0.4888888888888889, 0.7, np.nan]])
    assert rates[0, 0] != rates[0, 1]
    assert np.array_equal(ranks(rates), [[2, 2, 1, np.nan]], equal_nan=True)


@pytest.mark.parametrize("seed", range(5))
def test_win_rates_sum_to_half_the_number_of_methods(seed: int) -> None:
    rates = stats.win_rates(tournament("abcdef", 7, "xyz", planted(seed, 0.4)))
    assert rates["win_rate"].sum() == pytest.approx(3)
    assert rates["wins"].sum() * 2 == rates["n"].sum()


@pytest.mark.parametrize("seed", range(5))
def test_every_opponent_weighs_the_same_and_rates_of_a_complete_tournament_sum_to_half(seed: int) -> None:
    """Pairs of methods meet 1 to 12 times, and some comparisons are undecided."""
    generator = np.random.default_rng(seed)
    answer = planted(seed, 0.5)
    full = tournament("abcde", 12, "xyz", lambda *of: None if generator.random() < 0.2 else answer(*of))
    number = full["pair_id"].str[2:].astype(int)
    kept = {meeting: generator.integers(1, 13) for meeting in sorted(full["pair_id"].str[:2].unique())}
    # The first pair of a meeting is always decided, so that all methods meet.
    full.loc[number == 0, "answer"] = np.where(full["method_a"] < full["method_b"], "A", "B")[number == 0]
    frame = full[number < full["pair_id"].str[:2].map(kept)]
    rates = stats.win_rates(frame)
    assert rates["win_rate"].sum() == pytest.approx(2.5, abs=1e-12) and rates["n"].nunique() > 1
    matrix = stats.pairwise_matrix(frame)
    assert rates.set_index("method")["win_rate"].to_dict() == pytest.approx(matrix.mean(axis=1).to_dict())
    assert rates["n_opponents"].tolist() == [4] * 5
    strengths = stats.bradley_terry(frame)
    assert strengths["method"].tolist() == rates["method"].tolist()


def test_an_opponent_without_a_decided_comparison_is_left_out_of_the_mean() -> None:
    frame = tournament("abc", 10, "x", lambda a, b, *_: None if {a, b} == {"a", "c"} else "A" if a < b else "B")
    rates = stats.win_rates(frame).set_index("method")
    assert rates["win_rate"].to_dict() == {"a": 1.0, "b": 0.5, "c": 0.0}
    assert rates["n_opponents"].to_dict() == {"a": 1, "b": 2, "c": 1}


@pytest.mark.parametrize(
    ("judges", "votes", "winner", "outcome"),
    [
        ("x", "A", "a", "decided"),
        ("x", "N", None, "undecided"),
        ("xy", "AN", None, "undecided"),
        ("xy", "AB", None, "tie"),
        ("xy", "AA", "a", "decided"),
        ("xyz", "ANN", None, "undecided"),
        ("xyz", "ABN", None, "tie"),
        ("xyz", "BBN", "b", "decided"),
        ("xyz", "NNN", None, "undecided"),
        ("vwxyz", "AANNN", None, "undecided"),
        ("vwxyz", "AABNN", None, "undecided"),
        ("vwxyz", "AABBN", None, "tie"),
        ("vwxyz", "AAABB", "a", "decided"),
    ],
)
def test_more_than_half_of_the_panel_must_agree(judges: str, votes: str, winner: str | None, outcome: str) -> None:
    frame = tournament("ab", 1, judges, lambda a, b, judge, n: {"N": None}.get(c := votes[judges.index(judge)], c))
    first = stats.consensus(frame).iloc[0]
    assert (first["winner"], first["outcome"]) == (winner, outcome)


def test_the_majority_decides_and_the_rest_is_dropped_and_counted() -> None:
    answers = {0: "AAB", 1: "ABN", 2: "NNN", 3: "BBN", 4: "BNN"}
    frame = tournament("ab", 5, "xyz", lambda a, b, judge, n: {"N": None}.get(c := answers[n]["xyz".index(judge)], c))
    decisions = stats.consensus(frame)
    assert decisions[decisions["order"] == 0]["winner"].tolist() == ["a", None, None, "b", None]
    rates = stats.win_rates(frame).set_index("method")
    assert rates["n"].tolist() == [4, 4] and rates["ties"].tolist() == [6, 6]
    assert rates["n_pairs"].tolist() == [2, 2]


def test_the_two_orders_of_a_pair_are_one_cluster() -> None:
    """Judges that agree with themselves: twice the rows, and not a narrower interval."""
    generator = np.random.default_rng(1)
    winner = generator.random(50) < 0.6
    both = tournament("ab", 50, "x", lambda a, b, judge, n: "A" if (a == "a") == winner[n] else "B")
    once = both[both["order"] == 0]
    wide, narrow = (stats.win_rates(frame).iloc[0] for frame in (once, both))
    assert narrow["ci_high"] - narrow["ci_low"] == pytest.approx(wide["ci_high"] - wide["ci_low"], rel=1e-9)
    error = math.sqrt(0.6 * 0.4 / 50)
    assert narrow["ci_high"] - narrow["ci_low"] == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_always_winning_leaves_an_interval() -> None:
    rates = stats.win_rates(tournament("ab", 50, "x", lambda a, b, *_: "A" if a == "a" else "B"))
    assert rates["win_rate"].tolist() == [1.0, 0.0]
    assert rates["ci_low"][0] == pytest.approx(0.025 ** (1 / 50)) and rates["ci_high"][0] == 1.0
    assert rates["ci_high"][1] == pytest.approx(1 - 0.025 ** (1 / 50)) and rates["ci_low"][1] == 0.0
    assert np.isfinite(stats.bradley_terry(tournament("ab", 50, "x", lambda a, *_: "AB"[a != "a"]))["strength"]).all()


def test_always_winning_against_unequally_many_is_as_sure_as_the_fewest_allow() -> None:
    """Of 1 and 100 comparisons, p = .025 and 1 give the observed wins with probability .025: a mean of .5125."""
    frame = tournament("abc", 100, "x", lambda a, b, *_: "A" if a < b else "B")
    rates = stats.win_rates(frame[~frame["pair_id"].str.startswith("ac") | (frame["pair_id"] == "ac0")])
    assert rates["ci_low"][0] == pytest.approx((0.025 + 1) / 2)
    equal = stats.win_rates(frame)
    assert equal["ci_low"][0] == pytest.approx(0.025 ** (1 / 200))


def test_meetings_of_a_single_unit_pair_are_resampled_together() -> None:
    """Of the three pairs, a beats b, b beats c and c beats a, two are drawn with replacement.

    A method that is in a draw has a rate of 1 in three of eight draws, 1/2 in two and 0 in three.
    """
    frame = tournament("abc", 1, "x", lambda a, b, *_: "A" if (a, b) in {("a", "b"), ("b", "c"), ("c", "a")} else "B")
    wide, narrow = (stats.win_rates(frame, level=level) for level in (0.95, 0.1))
    assert wide["win_rate"].tolist() == [0.5] * 3 and wide["n_pairs"].tolist() == [2] * 3
    assert wide["ci_low"].tolist() == [0] * 3 and wide["ci_high"].tolist() == [1] * 3
    assert narrow["ci_low"].tolist() == narrow["ci_high"].tolist() == [0.5] * 3
    assert wide["rank_low"].tolist() == [1] * 3 and (wide["rank_high"] >= 2).all()


def test_of_two_unit_pairs_one_is_drawn() -> None:
    """Each method wins one of the two pairs, in both orders: a resample has a rate of 0 or 1."""
    rates = stats.win_rates(tournament("ab", 2, "x", lambda a, b, judge, n: "A" if (a == "a") == (n == 0) else "B"))
    assert rates["win_rate"].tolist() == [0.5] * 2
    assert rates["ci_low"].tolist() == [0] * 2 and rates["ci_high"].tolist() == [1] * 2


def test_a_method_with_only_invalid_replies_has_no_rank_and_the_others_keep_theirs() -> None:
    frame = tournament("abc", 10, "x", lambda a, b, *_: None if "c" in (a, b) else "A" if a == "a" else "B")
    rates = stats.win_rates(frame).set_index("method")
    assert rates["n"].to_dict() == {"a": 20, "b": 20, "c": 0}
    for name in ("rank", "rank_low", "rank_high"):
        assert rates[name].dropna().to_dict() == {"a": 1, "b": 2}
    assert np.isnan(rates["win_rate"]["c"]) and np.isnan(rates["ci_low"]["c"]) and np.isnan(rates["ci_high"]["c"])


def test_the_interval_is_the_same_for_the_same_seed_and_any_order_of_rows() -> None:
    frame = tournament("abc", 20, "xyz", planted(3, 0.3))
    first = stats.win_rates(frame)
    pd.testing.assert_frame_equal(first, stats.win_rates(frame))
    pd.testing.assert_frame_equal(
        first[["method", "win_rate", "n"]],
        stats.win_rates(frame.sample(frac=1, random_state=0))[["method", "win_rate", "n"]],
    )


def test_pairwise_rates_of_two_methods_sum_to_one() -> None:
    frame = tournament("abc", 30, "xyz", planted(4))
    matrix = stats.pairwise_matrix(frame)
    assert np.allclose((matrix + matrix.T).to_numpy()[~np.eye(3, dtype=bool)], 1)
    assert matrix.isna().to_numpy().diagonal().all()
    table = stats.pairwise(frame)
    assert len(table) == 6 and table["n"].tolist() == [60] * 6


def test_bradley_terry_of_two_methods_is_the_log_odds() -> None:
    frame = tournament("ab", 40, "x", lambda a, b, judge, n: "A" if (a == "a") == (n < 30) else "B")
    strength = stats.bradley_terry(frame).set_index("method")["strength"]
    assert strength["a"] - strength["b"] == pytest.approx(math.log(3), abs=0.01)


def test_controls_count_for_judges_and_for_no_method() -> None:
    frame = tournament("ab", 10, "x", lambda a, b, *_: "A" if a == "a" else "B")
    controls = pd.DataFrame(
        [(f"c{number}", "a", "a", 0, "x", "A" if number < 6 else "B") for number in range(8)], columns=frame.columns
    )
    both = pd.concat([frame, controls])
    pd.testing.assert_frame_equal(stats.win_rates(frame), stats.win_rates(both))
    health = stats.judge_health(both).iloc[0]
    assert health["control_a"] == 0.75 and health["n_controls"] == 8 and health["n"] == 20
    assert health["position_bias"] == 0 and health["swap_consistency"] == 1


def test_invalid_answers_are_counted() -> None:
    frame = tournament("ab", 10, "xy", lambda a, b, judge, n: None if judge == "x" and n < 3 else "A")
    health = stats.judge_health(frame).set_index("judge")
    assert health["invalid_rate"].tolist() == [0.3, 0.0] and health["n_swaps"].tolist() == [7, 10]


def test_invalid_first_replies_and_retried_answers_are_counted() -> None:
    """Of ten questions, two took a second attempt, one a third, one was given up, and one has no reply."""
    frame = tournament("ab", 5, "x", lambda *_: "A").assign(attempt=[1, 2, 2, 3, 3, None, 1, 1, 1, 1])
    frame.loc[[4, 5], "answer"] = None
    health = stats.judge_health(frame).iloc[0]
    assert health["n_first"] == 9 and health["first_invalid_rate"] == pytest.approx(4 / 9)
    assert health["retried_rate"] == pytest.approx(3 / 8) and health["invalid_rate"] == 0.2
    unknown = stats.judge_health(frame.drop(columns="attempt")).iloc[0]
    assert math.isnan(unknown["first_invalid_rate"]) and math.isnan(unknown["retried_rate"]) and unknown["n_first"] == 0
    invalid_once = stats.judge_health(frame.head(2).assign(answer=[None, "B"], attempt=[1, 1])).iloc[0]
    assert invalid_once["first_invalid_rate"] == 0.5 and invalid_once["retried_rate"] == 0


def test_krippendorff_alpha_of_the_published_examples() -> None:
    """Krippendorff (2011): two observers and binary data 0.095; four observers with missing data, nominal, 0.743."""
    binary = np.array([list("0100000000"), list("1110010010")]).T
    assert alpha_of(binary) == pytest.approx(0.095, abs=5e-4)
    observers = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
    table = np.array([[None if value == "." else value for value in row] for row in observers], dtype=object).T
    assert alpha_of(table) == pytest.approx(0.743, abs=5e-4)


def test_agreement_of_a_panel() -> None:
    assert stats.krippendorff_alpha(tournament("ab", 9, "xyz", lambda a, *_: "A" if a == "a" else "B")) == 1
    assert math.isnan(stats.krippendorff_alpha(tournament("ab", 9, "xyz", lambda *_: "A")))
    generator = np.random.default_rng(0)
    chance = tournament("ab", 400, "xyz", lambda *_: "AB"[int(generator.integers(2))])
    assert abs(stats.krippendorff_alpha(chance)) < 0.06


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="answer"), "lack the columns answer"),
        (lambda frame: frame.assign(answer="C"), "contain the answer 'C'"),
        (lambda frame: pd.concat([frame, frame]), "more than once"),
        (lambda frame: frame.assign(method_a=[*frame["method_a"][:-1], "z"]), "name different methods"),
    ],
)
def test_what_is_no_frame_of_judgments_is_refused(change: Callable[[pd.DataFrame], pd.DataFrame], message: str) -> None:
    with pytest.raises(UserError, match=message):
        stats.win_rates(change(tournament("ab", 3, "xy", lambda *_: "A")))


def test_nothing_judged_is_no_error() -> None:
    empty = tournament("ab", 0, "x", lambda *_: "A")
    assert stats.win_rates(empty).empty and stats.pairwise(empty).empty
    undecided = stats.win_rates(tournament("ab", 3, "x", lambda *_: None))
    assert undecided["n"].tolist() == [0, 0] and undecided["win_rate"].isna().all() and undecided["rank"].isna().all()


def test_invalid_judgments_and_options_are_named() -> None:
    frame = tournament("ab", 3, "x", lambda *_: "A")
    for column in ("pair_id", "method_a", "order", "judge"):
        broken = frame.astype(object)
        broken.loc[2, column] = None
        with pytest.raises(UserError, match=f"lack a value of {column} in row 2"):
            stats.win_rates(broken)
    for wrong, sentence in (({}, "is a dict"), (pd.concat([frame, frame], axis=1), "has a column twice")):
        with pytest.raises(UserError, match=sentence):
            stats.win_rates(wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="named by text"):
        stats.win_rates(frame.replace({"a": 1}))
    for options in ({"level": 95}, {"level": 0}, {"level": math.nan}, {"n_resamples": 0}, {"seed": -1}):
        with pytest.raises(UserError, match=next(iter(options))):
            stats.win_rates(frame, **options)  # type: ignore[arg-type]
