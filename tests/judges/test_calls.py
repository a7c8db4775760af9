"""The desk ends, whatever its workers' libraries do with a cancellation."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, cast

import pytest

from judges.base import Question, Reply
from judges.calls import Desk


class FakeReply:
    came = True
    finish_reason = "stop"


def test_it_ends_where_a_cancellation_is_swallowed() -> None:
    attempts: list[int] = []

    def keep(replies: Sequence[Reply]) -> None:
        attempts.append(len(replies))
        raise OSError("disk full")

    async def answer(question: Question) -> Reply:
        # The first is answered at once, the others meet their cancellation with a reply in hand.
        if cast(Any, question) > 0:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(30)
        return cast(Reply, FakeReply())

    async def run() -> None:
        async with asyncio.timeout(10):
            await Desk(4, keep).run(cast(Sequence[Question], range(8)), answer)

    with pytest.raises(OSError, match="disk full"):
        asyncio.run(run())
    # What the others had in hand was offered to the store, too.
    assert attempts == [1, 3]
