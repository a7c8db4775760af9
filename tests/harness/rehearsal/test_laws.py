"""Laws of time: recovered exactly from two points, never with a negative part, and with a range."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.rehearsal.laws import Extrapolated, Law, Point, Size, extrapolate, fitted

PARTS = st.floats(0.0, 1e4, allow_subnormal=False)


@given(constant=PARTS, rate=PARTS, small=st.integers(1, 50), growth=st.integers(2, 10), neurons=st.integers(1, 9))
def test_a_law_is_recovered_from_two_points(
    constant: float, rate: float, small: int, growth: int, neurons: int
) -> None:
    law = Law(constant, rate)
    sizes = [Size(neurons, small), Size(neurons, small * growth)]
    whole = Size(768 * neurons, 1e6 * small)
    seconds = extrapolate([Point(size, law.at(size)) for size in sizes], whole)
    assert seconds.seconds == pytest.approx(law.at(whole), rel=1e-6, abs=1e-3)
    assert seconds.low <= seconds.seconds * (1 + 1e-9) and seconds.high >= seconds.seconds * (1 - 1e-9)


def test_a_constant_part_makes_the_range_reach_up_to_proportion() -> None:
    law = Law(3.0, 2.0)
    points = [Point(Size(1, n), law.at(Size(1, n))) for n in (2, 4)]
    assert extrapolate(points, Size(1, 1000)) == Extrapolated(2003.0, 2003.0, 11 / 4 * 1000)


def test_no_part_is_negative() -> None:
    # The larger size took less than its share: no constant part, and the ratio of the sums.
    assert fitted([Point(Size(1, 1), 1.0), Point(Size(1, 2), 3.0)]) == Law(0.0, 4 / 3)
    # The larger size took less time altogether, of a busy machine: that nothing grows would be far too hopeful.
    assert fitted([Point(Size(1, 1), 3.0), Point(Size(1, 2), 1.0)]) == Law(0.0, 4 / 3)


def test_one_point_or_equal_sizes_count_as_variable() -> None:
    assert fitted([Point(Size(1, 4), 2.0)]) == Law(0.0, 0.5)
    assert fitted([Point(Size(1, 4), 2.0), Point(Size(1, 4), 4.0)]) == Law(0.0, 0.75)
    assert fitted([Point(Size(2, 0), 3.0)]) == Law(1.5, 0.0)


@pytest.mark.parametrize("points", [[], [Point(Size(1, 1), 1.0)] * 3])
def test_other_numbers_of_points_are_refused(points: list[Point]) -> None:
    with pytest.raises(ValueError, match="one or two points"):
        fitted(points)
