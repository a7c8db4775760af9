"""Intervals of win rates for new units: a brute-force twin, closed forms, and coverage in a simulation."""

from __future__ import annotations

import sys
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from paths import ROOT

from harness import stats
from harness.stats.new_units import NewUnits, interval, new_units, rank_interval
from harness.stats.tally import meetings, tally
from harness.stats.win_rates import mean_rates
from methods.errors import UserError


def judged(seed: int, n_methods: int, n_units: int, pairs: int, *, shared: bool = False) -> pd.DataFrame:
    """Return judgments of units of different quality by one judge; ``shared`` names units alike in all methods."""
    generator = np.random.default_rng(seed)
    quality = generator.standard_normal((n_methods, n_units))
    rows = []
    for x, y in combinations(range(n_methods), 2):
        for number in range(pairs):
            u, v = (int(unit) for unit in generator.integers(0, n_units, 2))
            names = (f"{u}", f"{v}") if shared else (f"{x}/{u}", f"{y}/{v}")
            for order in (0, 1):
                first = quality[x, u] + generator.standard_normal() > quality[y, v]
                sides = ((x, names[0]), (y, names[1]))[:: 1 if order == 0 else -1]
                answer = "A" if first == (order == 0) else "B"
                rows.append((f"{x}-{y}-{number}", f"m{sides[0][0]}", f"m{sides[1][0]}", order, "x", answer,
                             sides[0][1], sides[1][1]))  # fmt: skip
    columns = ["pair_id", "method_a", "method_b", "order", "judge", "answer", "unit_a", "unit_b"]
    return pd.DataFrame(rows, columns=columns)


@pytest.mark.parametrize("shared", [False, True])
def test_the_covariance_is_the_sum_over_all_pairs_of_unit_pairs_that_share_a_unit(shared: bool) -> None:
    """The twin forms every product of two unit pairs and keeps those with a unit in common."""
    frame = judged(3, 4, 6, 9, shared=shared)
    counted = tally(stats.consensus(frame))
    assert counted.unit_first is not None and counted.unit_second is not None
    met = meetings(counted)
    n_pairs = len(counted.first)
    moved = np.zeros((n_pairs, 4))
    for p in range(n_pairs):
        meeting = int(met.of_pair[p])
        same = met.of_pair == meeting
        g = min(len(set(counted.unit_first[same])), len(set(counted.unit_second[same])))
        residual = counted.wins_first[p] - met.wins[meeting] / met.decided[meeting] * counted.decided[p]
        residual *= np.sqrt(g / (g - 1)) / met.decided[meeting] / 3
        moved[p, counted.first[p]], moved[p, counted.second[p]] = residual, -residual
    units = [{int(counted.unit_first[p]), int(counted.unit_second[p])} for p in range(n_pairs)]
    expected = sum(np.outer(moved[p], moved[q]) for p in range(n_pairs) for q in range(n_pairs) if units[p] & units[q])
    sample = new_units(counted, np.full(4, 3))
    np.fill_diagonal(expected, np.maximum(np.diagonal(expected), (moved**2).sum(0)))
    np.testing.assert_allclose(sample.covariance, expected, atol=1e-14)
    # A gain of one method is a loss of the others.
    off = sample.covariance - np.diag(np.diagonal(sample.covariance))
    assert (off < 0).any()
    assert sample.n_units.tolist() == [6] * 4


def test_each_unit_in_one_pair_gives_the_usual_standard_error() -> None:
    """50 pairs of 100 units, 30 of them won: sqrt(.6 .4 / 49), as of independent trials."""
    rows = [
        (f"p{n}", *("ab" if order == 0 else "ba"), order, "x", "A" if (order == 0) == (n < 30) else "B",
         f"{'ab'[order]}{n}", f"{'ba'[order]}{n}")
        for n in range(50)
        for order in (0, 1)
    ]  # fmt: skip
    columns = ["pair_id", "method_a", "method_b", "order", "judge", "answer", "unit_a", "unit_b"]
    frame = pd.DataFrame(rows, columns=columns)
    sample = new_units(tally(stats.consensus(frame)), np.ones(2))
    assert np.sqrt(sample.covariance[0, 0]) == pytest.approx(np.sqrt(0.6 * 0.4 / 49))
    table = stats.win_rates(frame)
    assert table["n_units"].tolist() == [50, 50]
    low, high = interval(np.array([0.6, 0.4]), sample, 0.95)
    # On the log-odds scale: 2.0096 (Student, 49 degrees of freedom) standard errors of .0700 / .24.
    assert low[0] == pytest.approx(1 / (1 + np.exp(-(np.log(1.5) - 2.00958 * 0.0699854 / 0.24))), abs=1e-4)
    assert table["new_low"][0] == pytest.approx(low[0]) and table["new_high"][1] == pytest.approx(1 - low[0])
    assert table["new_high"][0] == pytest.approx(high[0])


def test_units_that_meet_all_opponents_widen_the_interval_and_the_ranks() -> None:
    """Twelve units in 50 pairs with each of five opponents: the pairs alone make the rates look far too sure."""
    frame = judged(0, 6, 12, 50)
    with_units, without = stats.win_rates(frame), stats.win_rates(frame.drop(columns=["unit_a", "unit_b"]))
    assert ((with_units["new_high"] - with_units["new_low"]) > 2 * (with_units["ci_high"] - with_units["ci_low"])).all()
    assert without[["new_low", "new_high", "n_units"]].isna().all(axis=None)
    same = ["method", "win_rate", "ci_low", "ci_high", "n", "rank"]
    pd.testing.assert_frame_equal(with_units[same], without[same])
    wide, narrow = (table["rank_high"] - table["rank_low"] for table in (with_units, without))
    assert (wide >= narrow).all() and (wide > narrow).any()
    assert ((with_units["rank_low"] <= with_units["rank"]) & (with_units["rank"] <= with_units["rank_high"])).all()


def test_always_winning_with_few_units_leaves_the_interval_of_their_number() -> None:
    """Five units that win all of 40 pairs against 40 units: .025 ** (1 / 5), not .025 ** (1 / 40)."""
    rows = [(f"p{n}", "a", "b", 0, "x", "A", f"a{n % 5}", f"b{n}") for n in range(40)]
    columns = ["pair_id", "method_a", "method_b", "order", "judge", "answer", "unit_a", "unit_b"]
    table = stats.win_rates(pd.DataFrame(rows, columns=columns))
    assert table["new_low"][0] == pytest.approx(0.025 ** (1 / 5)) and table["new_high"][0] == 1
    assert table["new_high"][1] == pytest.approx(1 - 0.025 ** (1 / 5)) and table["new_low"][1] == 0


def test_a_method_with_one_unit_has_no_interval_and_widens_those_of_its_opponents() -> None:
    frame = judged(1, 3, 8, 20)
    for side in ("a", "b"):
        frame.loc[frame[f"method_{side}"] == "m2", f"unit_{side}"] = "alone"
    table = stats.win_rates(frame).set_index("method")
    alone = table.loc["m2"]
    assert pd.isna(alone["new_low"]) and alone["n_units"] == 1 and alone["rank"] >= 1 and pd.isna(alone["rank_low"])
    others = table.drop(index="m2")
    # Half of the rate comes from one unit, whose variance may be 1/4.
    assert (others["new_high"] - others["new_low"] > 0.7).all() and others["rank_low"].notna().all()


def test_units_are_checked() -> None:
    frame = judged(0, 2, 4, 3)
    with pytest.raises(UserError, match="the column unit_a alone"):
        stats.win_rates(frame.drop(columns="unit_b"))
    with pytest.raises(UserError, match="lack a value of unit_b in row 1"):
        stats.win_rates(frame.assign(unit_b=[*frame["unit_b"][:1], None, *frame["unit_b"][2:]]))
    with pytest.raises(UserError, match="show different units"):
        stats.win_rates(frame.assign(unit_a=["other", *frame["unit_a"][1:]]))
    both = pd.concat([frame, frame.assign(judge="y", unit_a="other")])
    with pytest.raises(UserError, match="different methods or units"):
        stats.win_rates(both)
    nothing = stats.win_rates(frame.assign(answer=None))
    assert nothing["new_low"].isna().all() and nothing["n_units"].tolist() == [0, 0]
    assert stats.win_rates(frame.head(0)).empty


def sample_of(variances: list[float], n_units: int = 10_000) -> NewUnits:
    size = len(variances)
    return NewUnits(np.diag(variances), np.full(size, n_units), np.full(size, n_units))


def test_ranks_of_well_separated_and_of_equal_methods() -> None:
    generator = np.random.default_rng(0)
    low, high = rank_interval(np.array([0.9, 0.5, 0.1]), sample_of([1e-4] * 3), 0.95, 500, generator)
    assert low.tolist() == high.tolist() == [1, 2, 3]
    low, high = rank_interval(np.array([0.5, 0.5, np.nan, 0.5]), sample_of([1e-4] * 4), 0.95, 500, generator)
    np.testing.assert_array_equal(low, [1, 1, np.nan, 1])
    np.testing.assert_array_equal(high, [3, 3, np.nan, 3])


def test_two_methods_are_ranked_if_their_difference_is_beyond_1_96_errors() -> None:
    """The error of a difference of two independent rates of error .03 and .04 is .05."""
    sample = sample_of([0.03**2, 0.04**2])
    for difference, expected in ((1.9 * 0.05, [1, 2]), (2.02 * 0.05, [1, 1])):
        rates = np.array([0.5 + difference / 2, 0.5 - difference / 2])
        low, high = rank_interval(rates, sample, 0.95, 50_000, np.random.default_rng(1))
        assert [low[0], high[0]] == expected


def test_the_rank_interval_covers_the_ranks_of_nearly_equal_methods() -> None:
    """Rates that differ by a tenth of their error; ranks of redrawn rates covered 91 % in such cases."""
    generator = np.random.default_rng(2)
    truth = 0.5 + 0.003 * np.arange(8)[::-1]
    inside = []
    for _ in range(200):
        rates = truth + 0.03 * generator.standard_normal(8)
        low, high = rank_interval(rates, sample_of([0.03**2] * 8), 0.95, 300, generator)
        inside.append((low <= np.arange(1, 9)) & (np.arange(1, 9) <= high))
    assert np.mean(inside) > 0.94


def test_the_interval_covers_the_rate_of_new_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short run of benchmarks/new_unit_coverage.py, whose results are in docs/judging.md.

    60 tournaments of 5 methods: the standard error of the coverage is at most 1.6 %.
    """
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    import new_unit_coverage as benchmark

    for setting in (
        benchmark.Setting("units differ", 24, n_methods=5),
        benchmark.Setting("units are alike", 48, n_methods=5, spread=0.0),
        benchmark.Setting("neurons shared by methods", 48, n_methods=5, shared=0.7),
    ):
        right = benchmark.expected(setting)
        inside = []
        for number in range(60):
            generator = np.random.default_rng([5, number])
            counted = benchmark.tournament(generator, benchmark.qualities(generator, setting), setting)
            met = meetings(counted)
            rates, n_opponents = mean_rates(met.wins / met.decided, met, 5)
            low, high = interval(rates, new_units(counted, n_opponents), 0.95)
            inside.append((low <= right) & (right <= high))
        assert 0.905 <= np.mean(inside) <= 0.985, setting
