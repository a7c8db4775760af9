"""Estimate of the time that the cells of a run still take."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping


class TimeLeft:
    """Time left, from the times of the cells that have ended.

    Cells of one kind take about the same time, and those of an unknown kind the mean of all. If several cells are
    computed at once, the sum of their times grows faster than the clock, and the estimate is divided by that factor.

    Args:
        kinds: cell id -> kind, of the cells that are left.
        known: kind -> seconds of one cell, from earlier runs.
        clock: seconds of a clock that never goes back.
    """

    def __init__(
        self, kinds: Mapping[str, str], known: Mapping[str, float], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._open = dict(kinds)
        self._known = dict(known)
        self._measured: dict[str, list[float]] = defaultdict(list)
        self._clock = clock
        self._started = clock()

    def ended(self, cell_id: str, seconds: float | None = None) -> None:
        """Note that a cell has ended, after ``seconds``; None for a cell that another run computed."""
        kind = self._open.pop(cell_id, None)
        if kind is not None and seconds is not None:
            self._measured[kind].append(seconds)

    def seconds(self) -> float | None:
        """Return the seconds left; None if no cell has ended and none is known."""
        if not self._open:
            return 0.0
        of_kind = {**self._known, **{kind: _mean(times) for kind, times in self._measured.items()}}
        if not of_kind:
            return None
        computed = sum(sum(times) for times in self._measured.values())
        elapsed = max(self._clock() - self._started, 1e-9)
        at_once = max(1.0, computed / elapsed) if computed else 1.0
        overall = _mean(list(of_kind.values()))
        return sum(of_kind.get(kind, overall) for kind in self._open.values()) / at_once


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
