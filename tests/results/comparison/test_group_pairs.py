"""Groups of images as clusters: the jackknife's mean and variance, and scores without groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from results.comparison.group_pairs import group_blocks, group_values
from results.comparison.intervals import clustered


def score(values: np.ndarray) -> dict[str, Any]:
    """Mean over ten groups with its leave-one-group-out means."""
    without = [float(np.delete(values, group).mean()) for group in range(len(values))]
    return {"value": float(values.mean()), "details": {"without_group": without}}


def test_values_of_groups_have_the_score_as_mean_and_the_jackknife_error() -> None:
    values = np.random.default_rng(0).normal(0.6, 0.1, 10)
    of_groups = group_values(score(values))
    assert of_groups is not None and of_groups == pytest.approx(values)
    without = np.array(score(values)["details"]["without_group"])
    jackknife = 9 / 10 * ((without - without.mean()) ** 2).sum()
    assert of_groups.var(ddof=1) / 10 == pytest.approx(jackknife)


def test_groups_of_both_sides_are_drawn_together() -> None:
    """B is A minus .1 in every group, so the difference has no error, however much the groups vary."""
    values = np.random.default_rng(0).normal(0.6, 0.1, 10)
    a = {seed: [score(values + 0.001 * seed)] for seed in (0, 1, 2)}
    b = {seed: [score(values + 0.001 * seed - 0.1 - 1e-4 * seed)] for seed in (0, 1, 2)}
    blocks, words = group_blocks(a, b, [0, 1, 2])
    assert words == "10 groups of images paired"
    estimate, (low, high, _) = clustered(blocks, 3, level=0.95, n_resamples=500, generator=np.random.default_rng(0))
    assert low is not None and high is not None
    assert estimate == pytest.approx(0.1001) and high - low < 0.001


@pytest.mark.parametrize(
    "details",
    [
        None,
        {},
        {"without_group": [0.5]},
        {"without_group": [0.5, None]},
        {"without_group": "x"},
        {"without_group": [0.5, 10**400, 1e300]},
    ],
)
def test_scores_without_groups_have_no_block(details: Any) -> None:
    lacking = {0: [{"value": 0.5, "details": details}]}
    assert group_blocks({0: [score(np.arange(3.0))]}, lacking, [0]) == ([], "")
