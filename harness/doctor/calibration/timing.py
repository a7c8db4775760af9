"""Timing of a piece of work that is repeated: its rate, and the spread of two repetitions."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from harness.doctor.rates import MEASURED, Rate

#: Parts into which the seconds of a measurement are divided: a first run, which compiles and allocates, and two
#: repetitions.
_PARTS = 3


def measured(
    work: Callable[[int], float],
    unit: str,
    size: str,
    *,
    seconds: float,
    start: int = 1,
    most: int = 1 << 20,
    device: str = "cpu",
) -> Rate:
    """Return the rate of ``work(n)``, which does n pieces and returns their amount in the rate's unit.

    Args:
        unit: unit of the rate.
        size: description of one piece; ``{n}`` is replaced by the number of pieces of a repetition.
        seconds: time that all runs may take together; at least three runs of ``start`` pieces are made in any case.
        start: number of pieces of the first run, which is not counted.
        most: largest number of pieces.
    """
    first = _seconds(work, start, device)[1]
    n = max(start, min(most, int(start * seconds / _PARTS / max(first, 1e-9))))
    if n > 4 * start:
        # The first run compiles and allocates, so it is too slow a guide for many pieces.
        again = _seconds(work, start, device)[1]
        n = max(start, min(most, int(start * seconds / _PARTS / max(again, 1e-9))))
    return repeated(work, n, unit, size, device=device)


def repeated(work: Callable[[int], float], n: int, unit: str, size: str, *, device: str = "cpu") -> Rate:
    """Return the rate of ``work(n)`` from two repetitions, without a first run; arguments as of :func:`measured`."""
    values = []
    for _ in range(2):
        amount, elapsed = _seconds(work, n, device)
        values.append(amount / elapsed)
    return rate_of(values, unit, size.format(n=n))


def rate_of(values: list[float], unit: str, size: str) -> Rate:
    """Return the mean of the repetitions as a rate, with their range relative to it."""
    mean = sum(values) / len(values)
    return Rate(mean, unit, MEASURED, size, (max(values) - min(values)) / mean)


def synchronise(device: str) -> None:
    """Wait until the device has computed everything that was started on it."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _seconds(work: Callable[[int], float], n: int, device: str) -> tuple[float, float]:
    started = time.perf_counter()
    amount = work(n)
    synchronise(device)
    return amount, max(time.perf_counter() - started, 1e-9)
