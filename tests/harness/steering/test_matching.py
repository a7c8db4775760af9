"""Choice of the units that match a concept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import ArgumentError, UserError
from harness.steering.matching import matching_units

NAN = float("nan")


def chosen(similarities, units, scores, kappa, threshold, labels=None, concept="dog"):
    labels = [f"label {unit}" for unit in units] if labels is None else labels
    return matching_units(similarities, units, scores, kappa, threshold, concept=concept, labels=labels).tolist()


def test_order_is_similarity_then_score_then_unit() -> None:
    similarities = [0.5, 0.9, 0.5, 0.5, 0.5]
    scores = [0.1, 0.0, 0.2, 0.2, NAN]
    assert chosen(similarities, [7, 3, 9, 2, 1], scores, 10, 0) == [3, 2, 9, 7, 1]
    assert chosen(similarities, [7, 3, 9, 2, 1], scores, 2, 0) == [3, 2]


def test_the_threshold_must_be_exceeded_and_nan_matches_nothing() -> None:
    assert chosen([0.4, 0.41, NAN, 0.39], [0, 1, 2, 3], [1, 1, 1, 1], 4, 0.4) == [1]
    assert chosen([-0.5, -0.2, NAN], [0, 1, 2], [1, 1, 1], 4, -1) == [1, 0]


rows = st.lists(
    st.tuples(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, NAN]), st.sampled_from([0.0, 0.5, 1.0, NAN, float("-inf")])),
    min_size=1,
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(rows, st.integers(1, 13), st.sampled_from([-1.0, 0.0, 0.3]), st.randoms(use_true_random=False))
def test_the_same_as_a_sort_of_tuples_in_any_order(rows, kappa, threshold, random) -> None:
    entries = [(unit, similarity, score) for unit, (similarity, score) in enumerate(rows)]
    random.shuffle(entries)

    def key(entry):
        unit, similarity, score = entry
        return (-similarity, np.inf if np.isnan(score) else -score, unit)

    expected = [entry[0] for entry in sorted((e for e in entries if e[1] > threshold), key=key)][:kappa]
    units, similarities, scores = zip(*entries, strict=True)
    if expected:
        assert chosen(similarities, units, scores, kappa, threshold) == expected
    else:
        with pytest.raises(UserError, match="No unit's label is similar enough to 'dog'"):
            chosen(similarities, units, scores, kappa, threshold)


def test_without_a_match_the_nearest_labels_are_named() -> None:
    with pytest.raises(UserError) as error:
        chosen([0.3, 0.1, 0.2], [0, 1, 2], [0, 0, 0], 5, 0.4, ["wolf", "tea cup", "fox"])
    assert str(error.value) == (
        "No unit's label is similar enough to 'dog': the highest similarity is 0.30, and must exceed 0.4. The nearest "
        "labels are wolf, fox, tea cup. Use words of these labels, a lower threshold, or another text matcher."
    )


def test_without_similarities_labels_of_similar_spelling_are_named() -> None:
    labels = ["tea cup", "dog", "car", "dog"]
    with pytest.raises(UserError, match=r"Did you mean dog\? Labels there are: tea cup, dog, car\."):
        chosen([0, 0, 0, 0], [0, 1, 2, 3], [0, 0, 0, 0], 5, 0.0, labels, concept="dgo")
    with pytest.raises(UserError, match="highest similarity is none"):
        chosen([NAN], [0], [0], 5, 0.0, ["x"])


def test_hostile_labels_and_concepts_do_not_reach_the_terminal() -> None:
    labels = ["\x1b[31m" * 50, "\u202ex", "a" * 10_000, "", *(f"label {number}" * 20 for number in range(5000))]
    with pytest.raises(UserError) as error:
        chosen([0.0] * len(labels), range(len(labels)), [0.0] * len(labels), 5, 0.0, labels, "\x1b[2J\u202e" * 500)
    message = str(error.value)
    assert "\x1b" not in message and "\u202e" not in message and len(message) < 2500


def test_units_without_labels() -> None:
    with pytest.raises(UserError, match="No unit has a label, so none matches 'dog': label the units first"):
        chosen([], [], [], 5, 0.0)
    with pytest.raises(UserError, match="the labels of the 2 units are empty"):
        chosen([0, 0], [0, 1], [0, 0], 5, 0.0, ["", " "])


@pytest.mark.parametrize("kappa", [0, -1, 1.5, True, "3", None])
def test_invalid_kappa(kappa) -> None:
    with pytest.raises(ArgumentError, match=r"kappa = .* must be a whole number of units, at least 1"):
        chosen([1.0], [0], [0.0], kappa, 0)


@pytest.mark.parametrize("threshold", [1, 1.5, -1.1, NAN])
def test_invalid_thresholds(threshold) -> None:
    with pytest.raises(ArgumentError, match="must be at least -1 and below 1"):
        chosen([1.0], [0], [0.0], 1, threshold)


def test_lengths_must_agree() -> None:
    with pytest.raises(ArgumentError, match=r"equally long: similarities \(2,\), units \(1,\)"):
        chosen([1.0, 0.5], [0], [0.0, 0.1], 1, 0)
    with pytest.raises(ArgumentError, match=r"labels \(0,\)"):
        chosen([1.0], [0], [0.0], 1, 0, labels=[])
