"""Iteration ahead of the consumer, in a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_END = object()


def ahead(items: Generator[T, None, None], depth: int) -> Generator[T, None, None]:
    """Yield the items of a generator, in order, while a thread computes up to ``depth`` of those that follow.

    What ``items`` raises is raised here, when its turn comes. If the iteration ends early, the thread has ended and
    ``items`` is closed when this generator is closed.
    """
    pool = ThreadPoolExecutor(1)
    try:
        waiting: deque[Future[T | object]] = deque(pool.submit(next, items, _END) for _ in range(depth))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, items, _END))
            yield item  # type: ignore[misc]
    finally:
        pool.shutdown(cancel_futures=True)
        items.close()
