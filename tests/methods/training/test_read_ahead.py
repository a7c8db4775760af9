"""Iteration ahead of the consumer: order, errors, how far it runs ahead, and its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator

import pytest

from methods.training.read_ahead import ahead


def until(condition: object) -> bool:
    """Wait at most five seconds for a condition."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.002)
    return False


def test_all_items_come_in_order() -> None:
    for depth in (1, 2, 5):
        assert list(ahead((number for number in range(4)), depth)) == [0, 1, 2, 3]
    assert list(ahead((number for number in ()), 2)) == []


def test_it_computes_as_many_items_ahead_as_it_is_told() -> None:
    made: list[int] = []

    def items() -> Generator[int, None, None]:
        for number in range(10):
            made.append(number)
            yield number

    iterator = ahead(items(), 2)
    assert next(iterator) == 0
    assert until(lambda: len(made) == 3)
    time.sleep(0.05)
    assert made == [0, 1, 2], "one is in use, two are ready"
    iterator.close()


def test_an_error_is_raised_when_its_turn_comes() -> None:
    def items() -> Generator[int, None, None]:
        yield 1
        raise OSError("the disk is gone")

    iterator = ahead(items(), 3)
    assert next(iterator) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(iterator)


def test_an_early_end_leaves_no_thread_and_closes_what_it_reads() -> None:
    closed: list[str] = []

    def items(name: str) -> Generator[int, None, None]:
        try:
            yield from range(100)
        finally:
            closed.append(name)

    def doubled(numbers: Generator[int, None, None]) -> Generator[int, None, None]:
        try:
            for number in numbers:
                yield 2 * number
        finally:
            numbers.close()
            closed.append("outer")

    before = threading.active_count()
    iterator = ahead(doubled(ahead(items("inner"), 1)), 2)
    assert next(iterator) == 0
    assert threading.active_count() == before + 2
    iterator.close()
    assert closed == ["inner", "outer"]
    assert until(lambda: threading.active_count() == before)
