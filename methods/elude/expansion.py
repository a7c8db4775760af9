"""Search for the size that gives a wanted expansion factor (paper, App. E.6).

Smaller clusters, or more instances, give more sub-units. The expansion factor is therefore searched like a monotone
function of the size on a logarithmic scale. It is monotone only roughly, so the closest value that was tried is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

#: Largest distance from the wanted factor, as a share of it, at which the search ends.
TOLERANCE = 0.03
#: Largest number of values that are tried.
TRIES = 12
# Largest steps of the size, as factors, towards more and towards fewer sub-units, before the wanted factor lies between
# two values that were tried.
_LARGEST_STEP_UP, _LARGEST_STEP_DOWN = 4.0, 64.0

# Bounds of the power of the size to which the excess is taken to be proportional, from two values that were tried.
_LEAST_POWER, _GREATEST_POWER = 0.25, 4.0

#: Setting that is searched.
Searched = Literal["min_cluster_size", "top_k"]


class SizeSearch(NamedTuple):
    """Result of a search."""

    setting: Searched
    value: int
    factor: float
    tried: dict[int, float]
    """value -> expansion factor, in the order of the trials"""

    @property
    def state(self) -> dict[str, Any]:
        """JSON-able form, which :meth:`of` reads."""
        return {**self._asdict(), "tried": [list(pair) for pair in self.tried.items()]}

    @classmethod
    def of(cls, state: dict[str, Any]) -> SizeSearch:
        return cls(**{**state, "tried": {int(value): float(factor) for value, factor in state["tried"]}})

    def note(self, target: float) -> str:
        """Return a sentence about the result, for readers of a fit."""
        trials = f"{len(self.tried)} value{'s' * (len(self.tried) != 1)} tried"
        if is_near(self.factor, target):
            return (
                f"{self.setting} = {self.value} gives an expansion factor of {self.factor:.3f} (wanted: {target:g}; "
                f"{trials})."
            )
        return (
            f"The expansion factor {target:g} was not reached within {TOLERANCE:.0%}: {self.setting} = {self.value} is "
            f"the closest, with {self.factor:.3f} ({trials}, {min(self.tried)} to {max(self.tried)})."
        )


def is_near(factor: float, target: float) -> bool:
    """Return True if a factor is within the tolerance of the wanted one."""
    return abs(factor / target - 1) <= TOLERANCE


def distance(factor: float, target: float) -> float:
    """Return how far a factor is from the wanted one, as a ratio in either direction."""
    return abs(math.log(factor / target))


def search(
    factor_of: Callable[[int], float],
    *,
    setting: Searched,
    start: int,
    low: int,
    high: int,
    target: float,
    tries: int = TRIES,
) -> SizeSearch:
    """Return the value in low..high whose factor is closest to ``target`` among those tried, ``start`` first.

    The search ends at the first value within the tolerance, when no value is left between the last one below and the
    last one above the target, or after ``tries`` values. ``factor_of`` is called once for each value.
    """
    tried: dict[int, float] = {}
    value: int | None = min(max(start, low), high)
    while value is not None and len(tried) < tries:
        tried[value] = factor_of(value)
        if is_near(tried[value], target):
            break
        value = _next(tried, target, low, high, rising=setting == "top_k")
    best = min(tried, key=lambda candidate: (distance(tried[candidate], target), candidate))
    return SizeSearch(setting, best, tried[best], tried)


def _next(tried: dict[int, float], target: float, low: int, high: int, *, rising: bool) -> int | None:
    """Return the next value to try; None if there is none."""
    # Values at which the factor is too small or too large, as near to each other as is known.
    small = [value for value, factor in tried.items() if factor < target]
    large = [value for value, factor in tried.items() if factor >= target]
    if small and large:
        # Where the factor is not monotone the two may overlap: the target still lies between their factors.
        ends = sorted((max(small), min(large)) if rising else (max(large), min(small)))
        span = excess(tried[ends[0]]), excess(target), excess(tried[ends[1]])
        # Halved if the last two trials are on one side, since then interpolation would hardly narrow the interval.
        same_side = len({factor < target for factor in list(tried.values())[-2:]}) == 1
        ratio = 0.5 if same_side else (span[1] - span[0]) / (span[2] - span[0])
        value = round(ends[0] * (ends[1] / ends[0]) ** ratio)
        value = min(max(value, ends[0] + 1), ends[1] - 1)
        return value if ends[0] < value < ends[1] and value not in tried else None
    towards = max if (not large) == rising else min
    nearest = towards(tried)
    step = math.exp((excess(target) - excess(tried[nearest])) / _power(tried, nearest, towards))
    # More sub-units take more memory, so they are approached in small steps.
    step = min(max(step, 1 / _LARGEST_STEP_DOWN), _LARGEST_STEP_UP)
    value = round(nearest * (step if rising else 1 / step))
    if value == nearest:
        value += 1 if (step > 1) == rising else -1
    value = min(max(value, low), high)
    return None if value in tried else value


def _power(tried: dict[int, float], nearest: int, towards: Callable[[list[int]], int]) -> float:
    """Return how much the excess changes with the logarithm of the size between the two values nearest to the target.

    1 if only one value was tried.
    """
    others = [value for value in tried if value != nearest]
    if not others:
        return 1.0
    other = towards(others)
    power = abs(excess(tried[nearest]) - excess(tried[other])) / abs(math.log(nearest / other))
    return min(max(power, _LEAST_POWER), _GREATEST_POWER)


def excess(factor: float) -> float:
    """Return the logarithm of the sub-units beyond one per neuron: about linear in the logarithm of the size."""
    return math.log(max(factor - 1, 1e-6))
