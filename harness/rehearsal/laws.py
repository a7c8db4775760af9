"""Laws of time: seconds as a constant part and a part in proportion to a size, from two measurements."""

from __future__ import annotations

from typing import NamedTuple


class Size(NamedTuple):
    """Amount of one piece of work."""

    constant: float
    """what the constant part of the time is in proportion to"""
    variable: float
    """repeats of a measurement, for example"""


class Point(NamedTuple):
    """Measured seconds at a size."""

    size: Size
    seconds: float


class Law(NamedTuple):
    """``seconds = constant * size.constant + rate * size.variable``."""

    constant: float
    rate: float

    def at(self, size: Size) -> float:
        """Return the seconds at a size."""
        return self.constant * size.constant + self.rate * size.variable


class Extrapolated(NamedTuple):
    """Seconds at a size, and the range of the laws that the measurements allow."""

    seconds: float
    low: float
    high: float


def fitted(points: list[Point]) -> Law:
    """Return the law through one or two points, with neither part negative.

    Of a single point the whole time counts as variable, which is an upper bound for a larger size. So it does, with the
    ratio of the sums, if the law through two points has a negative part: the measurements then do not show the growth.

    Raises:
        ValueError: for no point, or more than two.
    """
    if not 1 <= len(points) <= 2:
        raise ValueError(f"a law follows from one or two points, and there are {len(points)}")
    determinant = 0.0
    if len(points) == 2:
        (first, t1), (second, t2) = points
        determinant = first.constant * second.variable - second.constant * first.variable
    if determinant:
        constant = (t1 * second.variable - t2 * first.variable) / determinant
        rate = (first.constant * t2 - second.constant * t1) / determinant
        if constant >= 0 and rate >= 0:
            return Law(constant, rate)
    if not any(point.size.variable for point in points):
        return Law(_ratio(points, "constant"), 0.0)
    return Law(0.0, _ratio(points, "variable"))


def extrapolate(points: list[Point], size: Size) -> Extrapolated:
    """Return the seconds at a size, by the law through the points and by those without its constant part.

    The range is that of this law, and of proportion to the largest point alone.
    """
    seconds = fitted(points).at(size)
    largest = max(points, key=lambda point: point.size.variable)
    if not largest.size.variable:
        return Extrapolated(seconds, seconds, seconds)
    proportional = Law(0.0, largest.seconds / largest.size.variable).at(size)
    return Extrapolated(seconds, min(seconds, proportional), max(seconds, proportional))


def _ratio(points: list[Point], part: str) -> float:
    total = sum(float(getattr(point.size, part)) for point in points)
    return sum(point.seconds for point in points) / total if total else 0.0
