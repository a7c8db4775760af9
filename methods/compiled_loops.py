"""Compilation of loops over arrays to machine code that runs in parallel on the CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from numba import njit

from methods.numerics import start_numba


def parallel(fastmath: set[str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Compile a kernel whose ``prange`` loops run in numba's threads, which are started without disturbing torch's.

    Args:
        fastmath: optimisations of floating-point numbers that the compiler may use; none if empty.
    """

    def compiled(kernel: Callable[..., None]) -> Callable[..., None]:
        dispatcher = njit(parallel=True, fastmath=fastmath, cache=True)(kernel)

        @functools.wraps(kernel)
        def call(*arguments: Any) -> None:
            start_numba()
            dispatcher(*arguments)

        return call

    return compiled
