"""Paired differences: Holm by hand, a method against itself, coverage by simulation, and refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from paired_store import cell, make_store

from results import ScoreRecord, StoreError, leaderboard, open_store
from results.comparison.compare import compare
from results.comparison.intervals import Block, clustered, holm, student
from results.comparison.text import refusals
from results.store import Store
from results.store.merge import MergeConflict, merge
from results.store.outcomes import ImageOutcome
from results.verify import verify

pytestmark = pytest.mark.run


def test_holm_by_hand() -> None:
    # m = 4: .01 * 4, .02 * 3, .03 * 2, .5; made monotone. None is not counted.
    assert holm([0.03, 0.01, None, 0.5, 0.02]) == pytest.approx([0.06, 0.04, None, 0.5, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_student_is_the_textbook_interval() -> None:
    low, high, p = student(np.array([1.0, 2.0, 3.0]), 0.95)
    # t(2, .975) = 4.302653, s = 1, se = 1 / sqrt(3)
    assert (low, high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), abs=1e-5)
    assert p == pytest.approx(0.0741799, abs=1e-6)
    assert student(np.array([0.5, 0.5]), 0.95) == (None, None, None)
    assert student(np.zeros(3), 0.95) == (0.0, 0.0, 1.0)


def _crossed(generator: np.random.Generator, neurons: int, seeds: int, of_seed: float) -> list[Block]:
    """Sub-units of shared neurons; the true difference of A and B is 0."""
    neuron_effects = generator.normal(0, 1, (neurons, 1))
    counts = np.ones((neurons, 2 * seeds))
    drift = generator.normal(0, of_seed, seeds)
    a = neuron_effects + drift + generator.normal(0, 0.5, (neurons, seeds))
    b = generator.normal(0, 0.5, (neurons, seeds))
    side = np.repeat([1, -1], seeds)
    return [Block(np.concatenate([a, b], 1), counts, side, np.tile(np.arange(seeds), 2))]


@pytest.mark.parametrize("of_seed", [0.0, 0.3])
def test_the_interval_covers_as_often_as_it_says(of_seed: float) -> None:
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        _, (low, high, _) = clustered(
            _crossed(generator, 60, 3, of_seed), 3, level=0.95, n_resamples=400, generator=generator
        )
        assert low is not None and high is not None
        hits += low <= 0 <= high
    # 200 draws: 95 % has a standard error of 1.5 points.
    assert 0.90 <= hits / 200 <= 1.0


def test_one_cluster_bootstrap_is_the_standard_error_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 400)
    blocks = [Block(values[:, None], np.ones((400, 1)), np.array([1]), np.array([0]))]
    blocks += [Block(np.zeros((2, 1)), np.ones((2, 1)), np.array([-1]), np.array([0]))]
    estimate, (low, high, _) = clustered(blocks, 1, level=0.95, n_resamples=4000, generator=np.random.default_rng(3))
    assert estimate == pytest.approx(values.mean())
    assert low is not None and high is not None
    assert (high - low) / 2 == pytest.approx(1.96 * values.std(ddof=1) / 20, rel=0.06)


def test_the_difference_is_found_and_itself_is_exactly_zero(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.duckdb")
    (comparison,) = compare(store, "elude", "random_split")
    ms = next(one for one in comparison.differences if one.column.metric == "ms_score")
    assert ms.low is not None and ms.high is not None and ms.low <= ms.difference <= ms.high
    assert ms.difference == pytest.approx(0.1, abs=0.01) and ms.better == "a" and ms.n_clusters == 40
    assert comparison.refused == (("k", "their parameters differ"),)
    assert compare(store, "elude", "random_split") == [comparison]
    assert refusals(comparison) == ["Not compared: k: their parameters differ."]
    with pytest.raises(StoreError, match="win_rate is a score of several cells"):
        compare(store, "elude", "random_split", metrics=["win_rate"])
    two = dataclasses.replace(comparison, refused=(("k", "they differ"), ("z", "why not"), ("l0", "they differ")))
    assert refusals(two) == ["Not compared: k, l0: they differ.", "Not compared: z: why not."]
    (itself,) = compare(store, "elude", "elude")
    assert all((one.difference, one.low, one.high) == (0, 0, 0) for one in itself.differences)
    assert all(one.better is None for one in itself.differences)


def add_dictionary(path: Path) -> None:
    """A method whose units have no neuron, on the same token seeds, as good as the first."""
    store = open_store(path, read_only=False)
    generator = np.random.default_rng(1)
    same = generator.uniform(0.3, 0.7, 60)
    for seed in (1, 2, 3):
        ms = same + generator.normal(0, 0.02, 60)
        units = pd.DataFrame({"unit": np.arange(60), "alive": np.ones(60, bool), "ms_score": ms})
        record = cell("topk_sae", seed, n_units=60)
        store.record(record, [ScoreRecord(metric="ms_score", value=float(ms.mean()), unit="fraction")], units)


@pytest.mark.parametrize("pair", [("elude", "random_split"), ("elude", "topk_sae"), ("topk_sae", "random_split")])
def test_b_against_a_is_a_against_b_turned_round(tmp_path: Path, pair: tuple[str, str]) -> None:
    """Not nearly: the draws are the same ones, so that nobody is better for having been named first."""
    make_store(tmp_path / "s.duckdb")
    add_dictionary(tmp_path / "s.duckdb")
    store = open_store(tmp_path / "s.duckdb")
    (one,), (other,) = compare(store, *pair), compare(store, *reversed(pair))
    for a, b in zip(one.differences, other.differences, strict=True):
        assert a.low is None or (a.low, a.high) == (-(b.high or 0), -(b.low or 0))
        assert (a.difference, a.p, a.p_holm, a.n_clusters) == (-b.difference, b.p, b.p_holm, b.n_clusters)
        assert {a.better, b.better} in ({None}, {"a", "b"})
    ms = next(difference for difference in one.differences if difference.column.metric == "ms_score")
    if "topk_sae" in pair:
        assert "60 units of " in ms.paired and ms.paired.index(" of A") < ms.paired.index(" of B")
        (a_has,) = ["60 units" if pair[0] == "topk_sae" else "40 neurons"]
        assert f"{a_has} of A" in ms.paired and ms.n_clusters == 100


def test_the_means_are_those_of_the_leaderboard(tmp_path: Path) -> None:
    """Runs repeated on one token set, for stability, are in no other mean, and in no difference of means."""
    make_store(tmp_path / "s.duckdb")
    writing = open_store(tmp_path / "s.duckdb", read_only=False)
    for init in (1, 2):
        writing.record(
            cell("elude", 1, f"again{init}", init_seed=init),
            [ScoreRecord(metric="ms_score", value=0.99, unit="fraction")],
        )
    store = open_store(tmp_path / "s.duckdb")
    (board,) = leaderboard(store)
    (comparison,) = compare(store, "elude", "random_split", metrics=["ms_score"])
    means = {row.method: row.metrics["ms_score"].mean for row in board.rows}
    (ms,) = comparison.differences
    assert (ms.a, ms.b) == (pytest.approx(means["elude"]), pytest.approx(means["random_split"]))
    assert ms.n_clusters == 40 and "2 cells of elude left out of the means" in comparison.notes[0]


def scores_only(path: Path, values: dict[str, dict[int, dict[str, float]]]) -> Store:
    """A store of cells without unit rows: method -> token seed -> metric -> value."""
    store = open_store(path, read_only=False)
    for method, of_seed in values.items():
        for seed, scores in of_seed.items():
            store.record(
                cell(method, seed), [ScoreRecord(metric=metric, value=value) for metric, value in scores.items()]
            )
    return store


def test_a_single_pair_of_seeds_has_a_difference_and_no_interval(tmp_path: Path) -> None:
    store = scores_only(tmp_path / "s.duckdb", {"a": {1: {"r2": 0.75}}, "b": {1: {"r2": 0.5}}})
    (comparison,) = compare(store, "a", "b")
    (r2,) = comparison.differences
    assert (r2.difference, r2.low, r2.high, r2.p, r2.p_holm, r2.better) == (0.25, None, None, None, None, None)
    assert r2.paired == "1 token seed paired; one pair gives no interval" and comparison.notes == ()
    (itself,) = compare(store, "a", "a")[0].differences
    assert (itself.low, itself.high, itself.paired) == (0, 0, "1 token seed paired")


def test_differences_of_scores_have_students_interval(tmp_path: Path) -> None:
    a, b = {1: {"r2": 0.6}, 2: {"r2": 0.8}}, {1: {"r2": 0.5}, 2: {"r2": 0.5}}
    (comparison,) = compare(scores_only(tmp_path / "s.duckdb", {"a": a, "b": b}), "a", "b")
    (r2,) = comparison.differences
    assert (r2.low, r2.high, r2.p) == pytest.approx(student(np.array([0.1, 0.3]), 0.95))
    assert r2.paired == "2 token seeds paired" and r2.n_clusters is None


def test_a_metric_that_is_undefined_for_a_cell_is_named_in_a_note(tmp_path: Path) -> None:
    a = {1: {"r2": 0.6, "l0": 3.0}, 2: {"r2": 0.8, "l0": float("nan")}}
    b = {1: {"r2": 0.5, "l0": 4.0}, 2: {"r2": 0.5, "l0": 4.0}}
    (comparison,) = compare(scores_only(tmp_path / "s.duckdb", {"a": a, "b": b}), "a", "b")
    assert [one.column.key for one in comparison.differences] == ["r2"]
    assert comparison.notes == ("l0 is not compared: it is undefined for a cell.",)


def test_refusals_say_why(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.duckdb")
    with pytest.raises(StoreError, match="Did you mean elude"):
        compare(store, "eldue", "random_split")
    with pytest.raises(StoreError, match="their parameters differ"):
        compare(store, "elude", "random_split", metrics=["k"])
    with pytest.raises(StoreError, match="Neither row has the metric 'nothing'"):
        compare(store, "elude", "random_split", metrics=["nothing"])


def test_verify_finds_what_is_impossible_and_nothing_else(tmp_path: Path) -> None:
    assert verify(make_store(tmp_path / "right.duckdb")).problems == []
    problems = verify(make_store(tmp_path / "wrong.duckdb", r2=1.5, wrong_alive=True)).problems
    assert {one.check for one in problems} == {"ranges", "units"} and len(problems) == 12
    lossy = verify(make_store(tmp_path / "lossy.duckdb", r2=0.9)).problems
    assert {one.check for one in lossy} == {"lossless"} and "claims to be lossless" in lossy[0].why


def test_merge_keeps_equal_cells_once_and_refuses_conflicts(tmp_path: Path) -> None:
    one, two = make_store(tmp_path / "1.duckdb"), make_store(tmp_path / "2.duckdb")
    three = make_store(tmp_path / "3.duckdb", r2=0.5)
    done = merge(tmp_path / "out.duckdb", [one.path, two.path])
    assert (done.cells, done.duplicates, done.rows["units"]) == (6, 6, 240)
    assert verify(open_store(done.path)).problems == []
    with pytest.raises(MergeConflict, match=r"r2@1 is 1\.0 and 0\.5"):
        merge(tmp_path / "no.duckdb", [one.path, three.path])
    assert not (tmp_path / "no.duckdb").exists()
    assert len(merge(tmp_path / "yes.duckdb", [one.path, three.path], prefer="first").resolved) == 6
    with pytest.raises(StoreError, match="exists"):
        merge(done.path, [one.path, two.path])


def images_store(path: Path, right: dict[str, np.ndarray], claims: dict[str, bool]) -> Store:
    """Rows with the same outcomes in three seeds."""
    store = open_store(path, read_only=False)
    for method, outcome in right.items():
        for seed in (1, 2, 3):
            store.record(
                cell(method, seed, claims=claims),
                [ScoreRecord(metric="accuracy", value=float(outcome.mean()), unit="fraction")],
                outcomes={"accuracy": ImageOutcome(np.ones(len(outcome), bool), outcome)},
            )
    return open_store(path)


def test_images_of_a_row_against_itself_differ_by_exactly_zero(tmp_path: Path) -> None:
    store = images_store(tmp_path / "s.duckdb", {"topk_sae": np.arange(50) < 40}, {})
    ((one,),) = (comparison.differences for comparison in compare(store, "topk_sae", "topk_sae"))
    assert (one.difference, one.low, one.high, one.p) == (0, 0, 0, 1) and "50 images paired" in one.paired


def test_a_claim_of_losslessness_does_not_make_images_that_differ_surer(tmp_path: Path) -> None:
    right = {"a": np.arange(100) < 78, "b": np.arange(100) < 74}
    intervals = []
    for claimed in (True, False):
        store = images_store(tmp_path / f"{claimed}.duckdb", right, {"lossless": claimed})
        ((one,),) = (comparison.differences for comparison in compare(store, "a", "b"))
        intervals.append((one.low, one.high, one.p))
    assert intervals[0] == intervals[1]
    equal = images_store(tmp_path / "e.duckdb", {"a": right["a"], "b": right["a"]}, {"lossless": True})
    ((one,),) = (comparison.differences for comparison in compare(equal, "a", "b"))
    assert (one.difference, one.low, one.high) == (0, 0, 0)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE outcomes SET n = -1, counted = ''::BLOB, positive = ''::BLOB",
        "UPDATE scores SET details = '[1, 2]'",
        "UPDATE cells SET claims = '[1]', notes = '7'",
        "UPDATE scores SET value = 1.7e308 WHERE cell_id LIKE 'a%'",
        "UPDATE scores SET uncertainty = 1.7e308",
    ],
)
def test_a_damaged_store_is_compared_or_refused(tmp_path: Path, damage: str) -> None:
    store = images_store(tmp_path / "s.duckdb", {"a": np.arange(100) < 78, "b": np.arange(100) < 74}, {})
    with open_store(store.path, read_only=False).writing() as opened:
        opened.execute(damage)
    assert len(leaderboard(store)[0].rows) == 2
    if "value" in damage:
        with pytest.raises(StoreError, match="no metric in common"):
            compare(store, "a", "b")
    else:
        assert compare(store, "a", "b")[0].differences[0].difference == pytest.approx(0.04)
