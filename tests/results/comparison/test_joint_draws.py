"""Joint draws of the means of rows: closed-form errors, errors that rows share, and rows without an error."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from paired_store import cell
from scipy.stats import binom, binomtest

from results import ScoreRecord, leaderboard, open_store
from results.boards.board import Aggregate, Board
from results.boards.uncertainty import intervals
from results.comparison.joint_draws import joint_draws
from results.comparison.row_errors import MOST_INFLUENCES, RowError, RowErrors, name_of, pooled_error
from results.pareto import front_shares
from results.store import Store
from results.store.outcomes import ImageOutcome


def test_errors_of_images_move_all_rows_alike() -> None:
    influences = np.full(100, 0.004)
    drawn = joint_draws({name: RowError(mean=0.74, space="images", influences=influences) for name in ("a", "b")})
    assert np.array_equal(drawn[:, 0], drawn[:, 1])
    assert drawn[:, 0].std() == pytest.approx(0.04, rel=0.1)
    apart = joint_draws({name: RowError(mean=0.74, variance=0.04**2) for name in ("a", "b")})
    assert abs(np.corrcoef(apart.T)[0, 1]) < 0.1


def test_three_seeds_have_students_interval() -> None:
    three = RowError(mean=0.5, between=0.03**2 / 3, freedom=2)
    (low, high), *_ = intervals(joint_draws({"a": three}, n_draws=40_000))
    # t(2) at 97.5 % is 4.303
    assert (high - low) / 2 == pytest.approx(4.303 * 0.03 / math.sqrt(3), rel=0.05)


def test_seeds_that_vary_less_than_their_units_add_nothing() -> None:
    units = RowError(mean=0.5, variance=0.0004, between=0.0001, within=0.0002, freedom=2)
    (low, high), *_ = intervals(joint_draws({"a": units}, n_draws=40_000))
    assert (high - low) / 2 == pytest.approx(1.96 * 0.02, rel=0.03)


def test_a_pooled_interval_is_taken_as_it_is() -> None:
    aggregate = Aggregate(
        mean=0.57,
        std=None,
        n=1,
        values=(0.57,),
        standard_error=None,
        n_undefined=0,
        direction="higher",
        unit="fraction",
        interval=(0.53, 0.61),
    )
    assert math.sqrt(pooled_error(aggregate).variance) == pytest.approx(0.08 / 3.92, rel=1e-3)


def test_draws_depend_on_the_seed_and_not_on_the_other_rows() -> None:
    error = RowError(mean=0.5, variance=0.01)
    alone, among = joint_draws({"a": error}), joint_draws({"x": error, "a": error, "none": None})
    assert np.array_equal(alone[:, 0], among[:, 1])
    assert np.isnan(among[:, 2]).all()
    assert not np.array_equal(alone[:, 0], among[:, 0])
    assert not np.array_equal(alone, joint_draws({"a": error}, seed=1))
    assert not np.array_equal(alone, joint_draws({"a": error}, metric="r2"))


def store_of(path: Path, right: dict[str, list[np.ndarray]], n_seeds: int = 3) -> tuple[Store, Board]:
    """Methods with the outcomes of their images in each seed, and twenty units with parents; and their board."""
    store = open_store(path, read_only=False)
    generator = np.random.default_rng(0)
    neurons = generator.uniform(0.3, 0.7, 20)
    for method, of_seeds in right.items():
        for seed, outcome in enumerate(of_seeds[:n_seeds]):
            units = pd.DataFrame(
                {"unit": np.arange(20), "parent": np.arange(20), "alive": np.ones(20, bool), "ms_score": neurons}
            )
            store.record(
                cell(method, seed, n_units=20),
                [
                    ScoreRecord(metric="accuracy", value=float(outcome.mean()), unit="fraction", n=len(outcome)),
                    ScoreRecord(metric="ms_score", value=float(neurons.mean()), unit="fraction", uncertainty=0.03),
                ],
                units,
                outcomes={"accuracy": ImageOutcome(np.ones(len(outcome), bool), outcome)},
            )
    store = open_store(path)
    return store, leaderboard(store)[0]


def test_a_share_of_the_front_is_as_sure_as_the_images_that_differ(tmp_path: Path) -> None:
    """78 of 100 right against 74, with 12 predictions that differ: McNemar's exact p is .39."""
    worse = np.zeros(100, bool)
    worse[:74] = True
    better = worse.copy()
    better[:4], better[74:82] = False, True
    assert (better.sum(), (better != worse).sum()) == (78, 12)
    store, board = store_of(tmp_path / "s.duckdb", {"better": [better] * 3, "worse": [worse] * 3})
    errors = RowErrors(store, board)
    accuracy, ms = (next(c for c in board.columns if c.metric == m) for m in ("accuracy", "ms_score"))
    drawn = {column.key: joint_draws(errors.of(column), metric=column.key) for column in (accuracy, ms)}
    # All units are the same, so only accuracy decides.
    assert np.ptp(drawn["ms_score"], axis=1).max() == 0
    share = front_shares(drawn["accuracy"], drawn["ms_score"])[[row.method for row in board.rows].index("better")]
    one_sided = binomtest(4, 12).pvalue / 2
    assert one_sided == pytest.approx(0.19, abs=0.01)
    # The normal distribution of the draws has no correction for continuity, unlike the exact test.
    assert 1 - one_sided < share < 0.91


def test_the_draws_of_images_have_the_error_of_a_proportion(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    outcome = generator.random(5000) < 0.7
    store, board = store_of(tmp_path / "s.duckdb", {"a": [outcome] * 3})
    error = RowErrors(store, board).of(board.columns_called(["accuracy"])[0])[name_of(board.rows[0])]
    assert error is not None and len(error.influences) == MOST_INFLUENCES
    expected = math.sqrt(outcome.mean() * (1 - outcome.mean()) / 5000)
    # 2000 sums of 2 or 3 images have the variance of the images up to a relative error of sqrt(2 / 2000).
    assert np.linalg.norm(error.influences) == pytest.approx(expected, rel=0.1)


def test_seeds_whose_images_differ_are_not_counted_twice(tmp_path: Path) -> None:
    """The images explain how far the seeds are apart, so nothing is added for the seeds."""
    generator = np.random.default_rng(4)
    # Other images are wrong in each seed; .70, .71, .69 are closer than independent shares of 100 images are.
    right = [generator.permutation(np.arange(100) < n) for n in (70, 71, 69)]
    store, board = store_of(tmp_path / "s.duckdb", {"a": right})
    column = board.columns_called(["accuracy"])[0]
    errors = RowErrors(store, board).of(column)
    (error,) = errors.values()
    assert error is not None
    # Seeds that are independent have sum / (T (T - 1)) of the influences about their mean.
    assert error.within == pytest.approx(0.7 * 0.3 / 100 / 3, rel=0.2) and 0 < error.between < 0.8 * error.within
    drawn = joint_draws(errors, metric="accuracy", n_draws=20_000)
    assert drawn.std() == pytest.approx(math.sqrt((error.influences**2).sum() + error.variance), rel=0.05)


def test_a_share_without_a_miss_is_not_exact_unless_it_is_lossless(tmp_path: Path) -> None:
    store, board = store_of(tmp_path / "s.duckdb", {"a": [np.ones(100, bool)] * 3})
    column, (row,) = board.columns_called(["accuracy"])[0], board.rows
    measured = RowErrors(store, board).of(column)[name_of(row)]
    lossless = dataclasses.replace(board, rows=(dataclasses.replace(row, is_lossless=True),))
    claimed = RowErrors(store, lossless).of(column)[name_of(row)]
    assert measured is not None and measured.variance == pytest.approx(0.5 / 100**2)
    assert claimed is not None and claimed.variance == 0 and not claimed.influences.any()


def test_a_neuron_of_any_number_needs_no_more_memory(tmp_path: Path) -> None:
    store, board = store_of(tmp_path / "s.duckdb", {"a": [np.arange(10) < 7] * 3})
    writing = open_store(store.path, read_only=False)
    with writing.writing() as opened:
        opened.execute("UPDATE units SET parent = 2000000003 WHERE unit = 3")
    error = RowErrors(store, board).of(board.columns_called(["ms_score"])[0])[name_of(board.rows[0])]
    # Neuron 2000000003 is added to neuron 3, since 2000 numbers are drawn.
    assert error is not None and error.space == "neurons" and len(error.influences) == 20


def test_a_row_with_one_seed_has_no_draws(tmp_path: Path) -> None:
    outcomes = np.arange(10) < 7
    store, board = store_of(tmp_path / "s.duckdb", {"a": [outcomes]}, n_seeds=1)
    errors = RowErrors(store, board)
    assert all(error is None for column in board.columns for error in errors.of(column).values())


@pytest.mark.parametrize("right", [95, 99, 100])
def test_shares_near_one_have_wilsons_interval(tmp_path: Path, right: int) -> None:
    store, board = store_of(tmp_path / "s.duckdb", {"a": [np.arange(100) < right] * 3})
    column = board.columns_called(["accuracy"])[0]
    drawn = joint_draws(RowErrors(store, board).of(column), metric="accuracy", n_draws=40_000)
    expected = binomtest(right, 100).proportion_ci(method="wilson")
    ((low, high),) = intervals(drawn)
    # Wider by the variance of half an image.
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.005)
    assert drawn.max() <= 1 and np.median(drawn) == pytest.approx(right / 100, abs=0.003)


def test_values_that_do_not_give_the_score_are_not_used(tmp_path: Path) -> None:
    """The outcomes of another run must not lend their error to a score."""
    store, _ = store_of(tmp_path / "s.duckdb", {"a": [np.arange(100) < 70] * 3})
    writable = open_store(store.path, read_only=False)
    for seed in range(3):
        scores = [
            ScoreRecord(metric="accuracy", value=0.9, unit="fraction", uncertainty=0.03),
            ScoreRecord(metric="ms_score", value=0.9, unit="fraction", uncertainty=0.02),
        ]
        outcome = np.arange(100) < 70
        units = pd.DataFrame({"unit": [0, 1], "parent": [0, 1], "alive": [True, True], "ms_score": [0.3, 0.7]})
        writable.record(
            cell("a", seed, n_units=2), scores, units, outcomes={"accuracy": ImageOutcome(np.ones(100, bool), outcome)}
        )
    (board,) = leaderboard(open_store(store.path))
    errors = RowErrors(open_store(store.path), board)
    for metric, error in (("accuracy", 0.03), ("ms_score", 0.02)):
        (row_error,) = errors.of(board.columns_called([metric])[0]).values()
        assert row_error is not None and not len(row_error.influences) and not row_error.n_images
        assert math.sqrt(row_error.variance) == pytest.approx(error)


@pytest.mark.parametrize(
    ("better", "worse", "both_differ"), [(100, 99, 0), (99, 98, 0), (98, 97, 1), (97, 94, 0), (99, 95, 0), (78, 74, 4)]
)
def test_two_rows_are_as_far_apart_as_mcnemar_says(tmp_path: Path, better: int, worse: int, both_differ: int) -> None:
    """One-sided mid-p of the images that differ; `both_differ` of them favour the worse row."""
    images = np.arange(100)
    right = images < worse
    other = right.copy()
    other[:both_differ] = False
    other[worse : better + both_differ] = True
    assert (right.sum(), other.sum()) == (worse, better)
    store, board = store_of(tmp_path / "s.duckdb", {"better": [other] * 3, "worse": [right] * 3})
    errors = RowErrors(store, board).of(board.columns_called(["accuracy"])[0])
    drawn = joint_draws(errors, metric="accuracy", n_draws=40_000)
    first, second = (drawn[:, [row.method for row in board.rows].index(name)] for name in ("better", "worse"))
    n_differ = better - worse + 2 * both_differ
    mid_p = binom.cdf(both_differ, n_differ, 0.5) - binom.pmf(both_differ, n_differ, 0.5) / 2
    assert np.mean(second > first) == pytest.approx(mid_p, abs=0.015)


def test_draws_of_shares_stay_between_their_ends(tmp_path: Path) -> None:
    """Three seeds that differ by more than their images explain: Student's t alone would leave the range."""
    right = [np.arange(100) < n for n in (100, 97, 94)]
    store, board = store_of(tmp_path / "s.duckdb", {"a": right})
    drawn = joint_draws(RowErrors(store, board).of(board.columns_called(["accuracy"])[0]), metric="accuracy")
    assert drawn.min() >= 0 and drawn.max() <= 1 and np.percentile(drawn, 2.5) < 0.92


def test_the_agreement_of_a_lossless_row_has_no_error(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s.duckdb", read_only=False)
    outcome = ImageOutcome(np.ones(100, bool), np.ones(100, bool))
    for seed in range(3):
        scores = [ScoreRecord(metric=m, value=1.0, unit="fraction", n=100) for m in ("accuracy", "agreement")]
        record = cell("a", seed, n_units=1, claims={"lossless": True})
        store.record(record, scores, outcomes=dict.fromkeys(("accuracy", "agreement"), outcome))
    (board,) = leaderboard(store)
    errors = RowErrors(store, board)
    drawn = {m: joint_draws(errors.of(board.columns_called([m])[0]), metric=m) for m in ("accuracy", "agreement")}
    assert (drawn["agreement"] == 1).all()
    # Its accuracy is a measurement on 100 images.
    assert np.percentile(drawn["accuracy"], 2.5) == pytest.approx(100 / (100 + 1.96**2), abs=0.004)
