"""Agreement of two judges: closed-form values of kappa, its interval, and which questions count."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from results import open_store
from results.comparison.judge_agreement import agreements, judge_agreements, kappa_interval, kappa_of
from results.store import judgments
from results.store.judgments import ReplyRecord


def test_kappa_of_closed_form_tables() -> None:
    tables = np.array([[20, 0, 0, 30], [0, 25, 25, 0], [25, 25, 25, 25], [45, 15, 25, 15], [10, 0, 0, 0], [0, 0, 0, 0]])
    kappas = kappa_of(tables)
    # The fourth is an example of Cohen's paper in numbers of Wikipedia's article: (.60 - .54) / .46.
    assert kappas[:4] == pytest.approx([1.0, -1.0, 0.0, 0.13043478], abs=1e-8)
    assert np.isnan(kappas[4:]).all()


def test_kappa_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    first = generator.integers(0, 2, 200)
    second = np.where(generator.random(200) < 0.3, 1 - first, first)
    table = [int(((first == a) & (second == b)).sum()) for a in (0, 1) for b in (0, 1)]
    assert float(kappa_of(np.array(table))) == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)


def test_the_interval_covers_kappa_and_widens_if_the_two_orders_of_a_pair_agree() -> None:
    """Judges agree on a unit pair or not, in both orders: 100 answers are worth 50."""
    generator = np.random.default_rng(1)
    truth, n_covered, widths = 0.4, 0, {True: [], False: []}
    for seed in range(200):
        n = 50
        for together in (True, False):
            same = generator.random(n) < (1 + truth) / 2
            again = same if together else generator.random(n) < (1 + truth) / 2
            counts = np.zeros((n, 4), dtype=np.int64)
            for agrees in (same, again):
                answer = generator.integers(0, 2, n)
                counts[np.arange(n), np.where(agrees, np.where(answer, 3, 0), np.where(answer, 2, 1))] += 1
            low, high = kappa_interval(counts, n_resamples=400, seed=seed) or (math.nan, math.nan)
            widths[together].append(high - low)
            n_covered += together and low <= truth <= high
    assert 0.90 <= n_covered / 200 <= 0.99
    assert np.mean(widths[True]) / np.mean(widths[False]) == pytest.approx(math.sqrt(2), rel=0.15)


def test_the_interval_is_that_of_resampled_pairs() -> None:
    generator = np.random.default_rng(2)
    counts = generator.multinomial(2, [0.4, 0.15, 0.1, 0.35], size=60)
    low, high = kappa_interval(counts) or (math.nan, math.nan)
    chosen = generator.integers(0, 60, (4000, 60))
    brute = np.quantile(kappa_of(counts[chosen].sum(axis=1)), [0.025, 0.975])
    assert (low, high) == pytest.approx(brute, abs=0.03)
    assert kappa_interval(counts) == (low, high)
    assert kappa_interval(counts[:9]) is None and kappa_interval(counts[:10]) is not None


def test_only_questions_that_both_answered_count_people_first() -> None:
    answers = {
        "vllm/m#1": {("g1", "g2"): "A", ("g2", "g1"): "B", ("g3", "g4"): "A", ("g5", "g6"): "B"},
        "people/anna#2": {("g1", "g2"): "A", ("g2", "g1"): "A", ("g3", "g4"): "A", ("g4", "g3"): "B"},
        "proxy/p#3": {("g9", "g8"): "A"},
    }
    (row,) = agreements(answers)
    assert (row.judge, row.other) == ("people/anna#2", "vllm/m#1")
    assert (row.n_questions, row.n_pairs, row.same) == (3, 2, pytest.approx(2 / 3))
    # Anna: A A A; the model: A B A: expected agreement 2/3.
    assert row.kappa == 0.0 and math.copysign(1, row.kappa) == 1 and row.low is None


def test_judges_with_one_and_the_same_answer_have_no_kappa() -> None:
    same = {(f"g{number}", "h"): "A" for number in range(5)}
    (row,) = agreements({"people/anna#1": same, "people/ben#1": same})
    assert row.same == 1.0 and row.kappa is row.low is row.high is None


def test_the_newest_answer_counts_and_controls_and_ties_do_not(tmp_path: Path) -> None:
    store = open_store(tmp_path / "r.duckdb", read_only=False)

    def reply(judge: str, grid_a: str, grid_b: str, answer: str | None, attempt: int = 1) -> ReplyRecord:
        return ReplyRecord(
            judge=judge, prompt_version="1", grid_a=grid_a, grid_b=grid_b, attempt=attempt, answer=answer, raw="{}"
        )

    judgments.record_replies(
        store,
        [
            reply("people/anna#1", "g1", "g2", "A"),
            reply("people/anna#1", "g2", "g1", None),
            reply("people/anna#1", "g3", "g3", "A"),
            reply("proxy/p#1", "g1", "g2", "B"),
            reply("proxy/p#1", "g2", "g1", "B"),
            reply("proxy/p#1", "g3", "g3", "A"),
        ],
    )
    judgments.record_replies(store, [reply("proxy/p#1", "g1", "g2", "A", attempt=2)])
    (row,) = judge_agreements(store)
    assert (row.n_questions, row.same) == (1, 1.0)
    assert judge_agreements(store, "no such tournament") == []
