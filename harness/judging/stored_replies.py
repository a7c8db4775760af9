"""Replies of judges in a store: what was answered before, and the keeping of what comes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from harness.progress import Reporter
from judges.base import Judge, Keep, Key, Reply
from judges.panel import LastReply, id_of
from judges.prompt import Prompt
from results import Store
from results.store import judgments
from results.store.judgments import ReplyRecord


def last_replies(store: Store, member: Judge, prompt: Prompt) -> dict[Key, LastReply]:
    """Return the last stored reply of a judge to each question of a prompt."""
    judge_id = id_of(member)
    frame = judgments.last_replies(store, judge_id, prompt.version)
    return {
        Key(judge_id, prompt.version, row.grid_a, row.grid_b): LastReply(
            int(row.attempt), row.answer is not None, bool(row.came), bool(row.cut_off), row.answer
        )
        for row in frame.itertuples()
    }


def answers_of(store: Store, member: Judge, prompt: Prompt) -> dict[Key, str | None]:
    """Return the answer of a judge to each question of a prompt that it was asked; None: invalid, or none came."""
    judge_id = id_of(member)
    frame = judgments.last_replies(store, judge_id, prompt.version)
    return {Key(judge_id, prompt.version, row.grid_a, row.grid_b): row.answer for row in frame.itertuples()}


class ReplyCount:
    """Number of replies that are stored, as a reporter shows it."""

    def __init__(self, reporter: Reporter, what: str, *, total: int) -> None:
        self._reporter, self._what, self._total = reporter, what, total
        self._done = 0

    def add(self, count: int) -> None:
        """Count replies. Repeated questions are not included in the initial total."""
        self._done += count
        self._total = max(self._total, self._done)
        self._reporter.progress(self._done, self._total, self._what)


def keeper(store: Store, prompt: Prompt, count: ReplyCount) -> Keep:
    """Return a function that stores the replies to a prompt and counts them."""

    def keep(replies: Sequence[Reply]) -> None:
        judgments.record_replies(store, [record_of(reply, prompt) for reply in replies])
        count.add(len(replies))

    return keep


def record_of(reply: Reply, prompt: Prompt) -> ReplyRecord:
    """Return a reply as it is stored, with the verdict of its prompt."""
    verdict = prompt.read(reply.text)
    return ReplyRecord(
        **reply.key._asdict(),
        attempt=reply.attempt,
        # A protocol of a plugin may read an answer from nothing.
        answer=verdict.answer if reply.came else None,
        reasoning_a=verdict.reasoning_a,
        reasoning_b=verdict.reasoning_b,
        problem=verdict.problem if reply.came else "no reply came",
        raw=reply.text,
        finish_reason=reply.finish_reason,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        seconds=reply.seconds,
        replied_at=reply.replied_at or datetime.now(UTC),
    )
