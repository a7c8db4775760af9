"""The Pareto front: closed-form points, then equality with the definition."""

from __future__ import annotations

import math
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results import pareto_front

# Few distinct values, so that ties in one column, in both, and NaN are common rather than never.
NUMBERS = st.sampled_from([-math.inf, -1.0, -0.0, 0.0, 0.5, 1.0, 2.0, math.inf, math.nan])


def by_definition(x: list[float], y: list[float], larger_x: bool, larger_y: bool) -> list[bool]:
    def at_least(a: float, b: float, larger: bool) -> bool:
        return a >= b if larger else a <= b

    mask = []
    for xi, yi in zip(x, y, strict=True):
        beaten = any(
            at_least(xj, xi, larger_x) and at_least(yj, yi, larger_y) and (xj != xi or yj != yi)
            for xj, yj in zip(x, y, strict=True)
            if not (math.isnan(xj) or math.isnan(yj))
        )
        mask.append(not beaten and not math.isnan(xi) and not math.isnan(yi))
    return mask


def test_three_points_of_which_one_is_beaten() -> None:
    frame = pd.DataFrame({"r2": [1.0, 0.8, 0.7], "ms": [0.5, 0.6, 0.55]})
    assert pareto_front(frame, "r2", "ms").tolist() == [True, True, False]


def test_equal_rows_are_both_on_the_front_and_a_tie_in_one_column_is_beaten() -> None:
    frame = pd.DataFrame({"x": [1.0, 1.0, 1.0, 0.5], "y": [2.0, 2.0, 1.0, 2.0]})
    assert pareto_front(frame, "x", "y").tolist() == [True, True, False, False]


def test_smaller_is_better_where_it_is_said() -> None:
    frame = pd.DataFrame({"ms": [1.0, 2.0, 3.0], "score": [0.1, 0.2, 0.2]})
    assert pareto_front(frame, "ms", "score", larger_x=False).tolist() == [True, True, False]


def test_an_empty_frame_and_one_of_nan_only_have_empty_fronts() -> None:
    assert pareto_front(pd.DataFrame({"x": [], "y": []}), "x", "y").shape == (0,)
    assert pareto_front(pd.DataFrame({"x": [math.nan], "y": [1.0]}), "x", "y").tolist() == [False]


def test_nullable_columns_and_any_index() -> None:
    frame = pd.DataFrame(
        {"x": pd.array([1, None, 3], dtype="Int64"), "y": pd.array([1.0, 9.0, 0.0], dtype="Float64")},
        index=["a", "a", "b"],
    )
    assert pareto_front(frame, "x", "y").tolist() == [True, False, True]


def test_an_unknown_column_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="nope"):
        pareto_front(pd.DataFrame({"x": [1.0]}), "x", "nope")


@given(rows=st.lists(st.tuples(NUMBERS, NUMBERS), max_size=25), larger_x=st.booleans(), larger_y=st.booleans())
@settings(max_examples=300, deadline=None)
def test_it_is_the_definition(rows: list[tuple[float, float]], larger_x: bool, larger_y: bool) -> None:
    x, y = [row[0] for row in rows], [row[1] for row in rows]
    frame = pd.DataFrame({"x": np.array(x, dtype=float), "y": np.array(y, dtype=float)})
    mask = pareto_front(frame, "x", "y", larger_x, larger_y)
    assert mask.tolist() == by_definition(x, y, larger_x, larger_y)


def test_a_quarter_of_a_million_rows_take_no_quadratic_time() -> None:
    values = np.random.default_rng(0).normal(size=(250_000, 2))
    started = time.monotonic()
    assert 0 < pareto_front(pd.DataFrame(values, columns=["x", "y"]), "x", "y").sum() < 100
    assert time.monotonic() - started < 5.0


def test_invalid_frames_are_named() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0], "y": [2.0, 1.0], "text": ["a", "b"], "z": [1 + 2j, 1]})
    frame["day"] = pd.to_datetime(["2020-01-01", "2021-01-01"])
    with pytest.raises(KeyError, match="no column 'gone'; there are x, y"):
        pareto_front(frame, "gone", "y")
    for column, sentence in (("text", "must hold numbers"), ("z", "complex128"), ("day", "datetime64")):
        with pytest.raises(ValueError, match=sentence):
            pareto_front(frame, column, "y")
    with pytest.raises(ValueError, match="column 'x' twice"):
        pareto_front(pd.concat([frame, frame], axis=1), "x", "y")
    with pytest.raises(ValueError, match="needs a DataFrame, not a dict"):
        pareto_front({"x": [1], "y": [2]}, "x", "y")  # type: ignore[arg-type]


def test_infinity_is_a_value_and_nan_is_none() -> None:
    frame = pd.DataFrame({"x": [1.0, np.inf, np.nan, -np.inf], "y": [2.0, 1.0, 9.0, np.inf]})
    assert pareto_front(frame, "x", "y").tolist() == [True, True, False, True]
