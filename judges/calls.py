"""Concurrent calls: bounded in number, rate-limited, and each counted until its reply is stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple

from judges.base import Keep, Question, Reply
from methods.errors import UserError

#: After this many calls in a row without a reply, the server is considered down.
GIVE_UP_AFTER = 32


class Answered(NamedTuple):
    """Raw reply of a server; without a text, the reason why none came."""

    text: str | None
    finish_reason: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class CallFailed(Exception):
    """One try failed, for a reason that may be stored; another may succeed.

    ``wait_s`` is the delay in seconds that the server requested, for all calls if ``everybody``.
    """

    def __init__(self, reason: str, wait_s: float = 0.0, *, everybody: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.wait_s, self.everybody = reason, wait_s, everybody


class Refused(UserError):
    """The judge will not answer any call."""


class Pacer:
    """Rate limiter: spaces requests evenly, and delays all of them if the server asks for it."""

    def __init__(self, per_minute: float | None) -> None:
        self._gap = 60 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def turn(self) -> None:
        """Wait until this request may start."""
        now = time.monotonic()
        mine = max(now, self._next)
        self._next = mine + self._gap if self._gap else self._next
        if mine > now:
            await asyncio.sleep(mine - now)

    def pause(self, seconds: float) -> None:
        """Let no request start for this many seconds."""
        self._next = max(self._next, time.monotonic() + seconds)


class Desk:
    """Pool of ``concurrency`` workers that answer questions; replies are stored in groups as they come.

    Storing may take longer than a reply. All replies that came meanwhile are stored together, one group at a time.
    """

    def __init__(self, concurrency: int, keep: Keep) -> None:
        self._concurrency = concurrency
        self._keep = keep
        self._fresh: list[Reply] = []
        self._storing = asyncio.Lock()
        self._failures = 0
        self._stop: UserError | None = None
        self._closed = False

    async def run(self, questions: Sequence[Question], answer: Callable[[Question], Awaitable[Reply]]) -> None:
        """Answer all questions.

        Raises:
            UserError: the judge refuses, or many calls in a row had no reply; replies that came are stored.
        """
        waiting = iter(questions)
        workers = [asyncio.create_task(self._work(waiting, answer)) for _ in range(self._concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            # A worker whose cancellation a library swallows leaves its reply to the last group.
            self._closed = True
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            # Interrupted between a reply and its storage.
            if self._fresh:
                self._keep(self._fresh)
        if self._stop is not None:
            raise self._stop

    async def _work(self, waiting: Iterator[Question], answer: Callable[[Question], Awaitable[Reply]]) -> None:
        for question in waiting:
            try:
                reply = await answer(question)
            except Refused as refused:
                self._stop = self._stop or refused
                return
            self._fresh.append(reply)
            if self._closed:
                return
            async with self._storing:
                # Empty if the worker before stored this reply with its own.
                batch, self._fresh = self._fresh, []
                if batch:
                    # Shielded: a store operation that has begun is finished even if the run is interrupted.
                    await asyncio.shield(asyncio.to_thread(self._keep, batch))
            self._failures = 0 if reply.came else self._failures + 1
            if self._failures >= max(GIVE_UP_AFTER, 2 * self._concurrency):
                self._stop = self._stop or UserError(
                    f"The server gave no reply to {self._failures} calls in a row ({reply.finish_reason}). "
                    "The other replies are stored; repeat the command to ask the rest."
                )
            if self._stop is not None:
                return
