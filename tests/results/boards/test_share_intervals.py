"""Wilson's interval: SciPy's, its own equation, its ends, and its coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest, t

from results.boards.board import Aggregate
from results.boards.mean_intervals import confidence_interval
from results.boards.share_intervals import images_behind, share_at

QUANTILE = 1.959963984540054


@pytest.mark.parametrize(("positive", "n"), [(0, 10), (3, 10), (74, 100), (95, 100), (100, 100), (4999, 5000)])
def test_it_is_scipys_interval(positive: int, n: int) -> None:
    ends = share_at(positive / n, n, QUANTILE * np.array([-1.0, 1.0]))
    expected = binomtest(positive, n).proportion_ci(method="wilson")
    assert ends == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_a_share_is_z_standard_errors_away_and_in_order() -> None:
    z = np.linspace(-6, 6, 41)
    shares = share_at(0.3, 50, z)
    assert (0.3 - shares) / np.sqrt(shares * (1 - shares) / 50) == pytest.approx(-z, abs=1e-9)
    assert (np.diff(shares) > 0).all() and shares[20] == 0.3
    for share in (0.0, 1.0):
        extreme = share_at(share, 50, z)
        assert extreme.min() >= 0 and extreme.max() <= 1 and extreme[20] == share


def test_the_images_behind_an_error() -> None:
    assert images_behind(0.74, (0.74 * 0.26 / 100) ** 0.5, 7) == pytest.approx(100)
    assert images_behind(0.74, (0.74 * 0.26 / 300) ** 0.5, 100) == pytest.approx(300)  # seeds with other images wrong
    assert images_behind(1.0, 0.0, 100) == images_behind(0.5, 0.0, 100) == 100
    assert images_behind(0.5, 5e-324, 100) == 100  # its square is 0


@pytest.mark.parametrize(
    ("share", "least", "most"), [(0.5, 0.94, 0.96), (0.74, 0.94, 0.96), (0.95, 0.96, 0.97), (0.99, 0.92, 0.93)]
)
def test_coverage_of_a_hundred_images(share: float, least: float, most: float) -> None:
    """Outcomes are discrete, so the coverage jumps."""
    assert least <= coverage(share, wilson=True) <= most


def test_the_normal_interval_covers_less_near_one() -> None:
    assert coverage(0.95, wilson=False) == pytest.approx(0.877, abs=0.001)
    assert coverage(0.99, wilson=False) == pytest.approx(0.633, abs=0.001)
    within = [coverage(share, wilson=True) for share in np.arange(0.5, 0.951, 0.005)]
    assert min(within) > 0.925 and max(within) < 0.975


def coverage(share: float, *, wilson: bool) -> float:
    possible = np.arange(101)
    z = QUANTILE * np.array([-1.0, 1.0])
    if wilson:
        ends = np.array([share_at(count / 100, 100, z) for count in possible])
    else:
        ends = np.array([s + z * (s * (1 - s) / 100) ** 0.5 for s in possible / 100])
    covered = (ends[:, 0] <= share) & (share <= ends[:, 1])
    return float(binom.pmf(possible, 100, share)[covered].sum())


def aggregate(mean: float, error: float | None, n_images: int | None, **changes: object) -> Aggregate:
    fields: dict[str, object] = {
        "mean": mean,
        "std": None,
        "n": 1,
        "values": (mean,),
        "standard_error": error,
        "n_undefined": 0,
        "direction": "higher",
        "unit": "fraction",
        "n_observations": n_images,
    }
    return Aggregate(**(fields | changes))  # type: ignore[arg-type]


def test_a_mean_that_is_a_share_has_wilsons_interval() -> None:
    error = (0.95 * 0.05 / 100) ** 0.5
    expected = binomtest(95, 100).proportion_ci(method="wilson")
    low, high = confidence_interval(aggregate(0.95, error, 100), is_share=True) or (0.0, 0.0)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-6)
    # All right: no spread among the images, but not sure.
    low, high = confidence_interval(aggregate(1.0, 0.0, 100), is_share=True) or (0.0, 0.0)
    assert (low, high) == pytest.approx((100 / (100 + QUANTILE**2), 1.0), abs=1e-6)
    # Without the number of images, the normal interval is all there is.
    low, high = confidence_interval(aggregate(0.95, error, None), is_share=True) or (0.0, 0.0)
    assert low == pytest.approx(0.95 - 1.96 * error, abs=1e-4)


def test_seeds_that_differ_widen_it() -> None:
    error = (0.9 * 0.1 / 100) ** 0.5
    one = confidence_interval(aggregate(0.9, error, 100), is_share=True) or (0.0, 0.0)
    three = aggregate(0.9, error, 100, values=(0.86, 0.9, 0.94), std=0.04, n=3)
    low, high = confidence_interval(three, is_share=True) or (0.0, 0.0)
    of_seeds = t.ppf(0.975, 2) * 0.04 / 3**0.5
    assert low == pytest.approx(0.9 - np.hypot(0.9 - one[0], of_seeds)) and high == 1.0
