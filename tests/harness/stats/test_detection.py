"""Balanced accuracy of detections, and its mean over units and judges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats import Detections, clustered_standard_error, mean_over_judges


def test_balanced_accuracy_in_closed_form() -> None:
    votes = [(True, "yes"), (True, "no"), (True, "yes"), (True, None), (False, "no"), (False, "no"), (False, "yes")]
    counted = Detections.of(votes)
    assert counted == Detections(3, 3, 2, 2) and counted.balanced_accuracy == pytest.approx((2 / 3 + 2 / 3) / 2)
    # Sides of different size weigh the same.
    assert Detections(2, 100, 0, 100).balanced_accuracy == 0.5


@pytest.mark.parametrize("votes", [Detections(1, 9, 1, 9), Detections(9, 1, 9, 1), Detections()])
def test_too_few_valid_answers_on_a_side_give_no_score(votes: Detections) -> None:
    assert votes.balanced_accuracy is None


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["yes", "no", None])), max_size=30))
def test_one_answer_for_all_is_chance_and_exchanged_answers_mirror_it(votes: list[tuple[bool, str | None]]) -> None:
    counted = Detections.of(votes).balanced_accuracy
    exchanged = [(positive, {"yes": "no", "no": "yes", None: None}[answer]) for positive, answer in votes]
    mirrored = Detections.of(exchanged).balanced_accuracy
    for answer in ("yes", "no"):
        same = Detections.of((positive, answer) for positive, _ in votes).balanced_accuracy
        assert same in (None, 0.5)
    assert (counted is None) == (mirrored is None)
    assert counted is None or counted + (mirrored or 0.0) == pytest.approx(1)


def test_one_judge_has_the_usual_error() -> None:
    scores = np.array([[1.0, 0.5, np.nan, 0.75, 0.25]])
    mean = mean_over_judges(scores, np.arange(5))
    assert mean is not None and mean.value == pytest.approx(0.625) and mean.n == 4
    values = np.array([1.0, 0.5, 0.75, 0.25])
    assert mean.uncertainty == pytest.approx(values.std(ddof=1) / math.sqrt(4))
    clusters = np.array(["a", "a", "b", "b", "c"])
    clustered = mean_over_judges(scores, clusters)
    assert clustered is not None and clustered.n_clusters == 3
    assert clustered.uncertainty == pytest.approx(clustered_standard_error(values, np.array(["a", "a", "b", "c"])))
    low, high = mean.interval() or (0.0, 0.0)
    assert high == 1.0 and mean.value - low == pytest.approx(3.182446 * (mean.uncertainty or 0), rel=1e-6)


def test_judges_that_agree_are_no_further_evidence() -> None:
    scores = np.array([[1.0, 0.5, 0.75, 0.25]])
    one, three = (mean_over_judges(np.repeat(scores, n, axis=0), np.arange(4)) for n in (1, 3))
    assert one is not None and three is not None
    assert three.value == one.value and three.uncertainty == pytest.approx(one.uncertainty)


@given(st.integers(0, 2**32 - 1))
def test_the_mean_and_its_error_equal_a_loop(seed: int) -> None:
    generator = np.random.default_rng(seed)
    judges, units = int(generator.integers(1, 4)), int(generator.integers(2, 9))
    scores = generator.random((judges, units))
    scores[generator.random((judges, units)) < 0.3] = np.nan
    names = [f"neuron {number}" for number in generator.integers(0, 4, units)]
    mean = mean_over_judges(scores, np.array(names))
    valid = [[value for value in row if not math.isnan(value)] for row in scores]
    if not all(valid):
        assert mean is None
        return
    means = [sum(row) / len(row) for row in valid]
    change: dict[str, float] = {}
    for unit, name in enumerate(names):
        for judge in range(judges):
            if not math.isnan(scores[judge, unit]):
                part = (scores[judge, unit] - means[judge]) / len(valid[judge]) / judges
                change[name] = change.get(name, 0.0) + part
    assert mean is not None and mean.value == pytest.approx(sum(means) / judges)
    n = len(change)
    expected = None if n < 2 else math.sqrt(n / (n - 1) * sum(part**2 for part in change.values()))
    assert mean.uncertainty == (None if expected is None else pytest.approx(expected, abs=1e-12))


def test_a_judge_without_any_score_leaves_none() -> None:
    assert mean_over_judges(np.array([[0.5, 1.0], [np.nan, np.nan]]), np.arange(2)) is None
    assert mean_over_judges(np.zeros((1, 0)), np.array([])) is None
    alone = mean_over_judges(np.array([[0.5]]), np.arange(1))
    assert alone is not None and alone.uncertainty is None and alone.interval() is None


def test_the_error_covers_the_true_mean() -> None:
    """Coverage of the 95 % interval over 400 samples of 30 units, two judges who share what is hard about a unit."""
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        quality = 0.7 + 0.1 * generator.standard_normal(30)
        scores = quality + 0.05 * generator.standard_normal((2, 30))
        low, high = mean_over_judges(scores, np.arange(30)).interval()  # type: ignore[union-attr, misc]
        hits += low <= 0.7 <= high
    assert 0.92 <= hits / 400 <= 0.98


def test_equal_scores_of_a_few_units_are_no_certainty() -> None:
    """Five right answers of five on each side, of three units: the error is that of shares of 5.5 of 6."""
    perfect = Detections(5, 5, 5, 5)
    assert perfect.variance == pytest.approx((5.5 / 6) * (0.5 / 6) / 5 / 2)
    table, variances = np.ones((1, 3)), np.full((1, 3), perfect.variance)
    mean = mean_over_judges(table, np.array(["a", "b", "c"]), variances)
    assert mean is not None and mean.uncertainty == pytest.approx(math.sqrt(perfect.variance / 3))
    interval = mean.interval()
    assert interval is not None and interval[0] < 0.9 and interval[1] == 1.0
    # Two judges of the same units.
    both = mean_over_judges(np.ones((2, 3)), np.array(["a", "b", "c"]), np.repeat(variances, 2, 0))
    assert both is not None and both.uncertainty == pytest.approx(math.sqrt(perfect.variance / 6))
    # The spread over units counts if it is larger.
    spread = np.array([[0.2, 0.9, 0.7]])
    plain, with_own = (mean_over_judges(spread, np.array(["a", "b", "c"]), own) for own in (None, variances))
    assert plain is not None and plain == with_own
    assert Detections(1, 5, 1, 5).variance is None


def test_intervals_keep_to_what_is_possible() -> None:
    scores, clusters = np.array([[0.1, 0.9]]), np.array(["a", "b"])
    mean, gap = (mean_over_judges(scores, clusters, low=low) for low in (0.0, -1.0))
    assert mean is not None and gap is not None
    assert (mean.interval(), gap.interval()) == ((0.0, 1.0), (-1.0, 1.0))
