"""Asking of the judges of a suite: in this process, or in processes of their own, with every reply stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from harness.errors import UserError
from harness.progress import Reporter
from judges.base import Judge, Keep, Question, Reply
from judges.grids import Album
from judges.guarding import opened
from judges.judge_process import Assignment, Job
from judges.panel import ask, described
from judges.processes import ask_in_processes
from judges.prompt import Prompt
from results import Store
from results.store import judgments
from results.store.judgments import ReplyRecord


class OpenContest(NamedTuple):
    """Questions of a contest that are left to ask a judge; all questions, if it answers later."""

    title: str
    questions: list[Question]
    prompt: Prompt


def ask_members(
    store: Store,
    members: Sequence[tuple[Judge, Sequence[OpenContest]]],
    album: Album,
    reporter: Reporter,
    release: Callable[[], None],
) -> list[str]:
    """Ask judges their open questions, and store the replies as they come.

    A judge's resources are opened once for all contests, and only if questions are open. Judges that load a model are
    asked at last, in processes of their own; only this process writes to the store.

    Args:
        release: gives back the memory of GPUs that this process holds, before a judge loads a model there.

    Returns:
        One sentence per judge that failed; the others were asked nevertheless.

    Raises:
        UserError: a judge needs more GPUs than there are.
        StoreError: the store cannot be written.
    """
    failures = []
    loading = []
    for member, contests in members:
        contests = [contest for contest in contests if contest.questions]
        if not contests:
            continue
        if member.own_process:
            loading.append((member, contests))
            continue
        try:
            with opened(member, described(member)):
                for contest in contests:
                    progress = _Progress(
                        reporter, f"{member.name} judges {contest.title}", total=len(contest.questions)
                    )
                    ask(member, contest.questions, contest.prompt, album, _keep(store, progress))
        except UserError as error:
            failures.append(str(error))
    if loading:
        release()
        # One bar for all: judges that run at the same time would take turns on it.
        names = loading[0][0].name if len(loading) == 1 else f"{len(loading)} judges"
        total = sum(len(contest.questions) for _, contests in loading for contest in contests)
        keep = _keep(store, _Progress(reporter, f"replies of {names}", total=total))
        assignments = [
            Assignment(member, [Job(contest.questions, contest.prompt, keep) for contest in contests])
            for member, contests in loading
        ]
        failures += ask_in_processes(assignments, album, reporter.say)
    return failures


class _Progress:
    """Number of replies that are stored, as a reporter shows it."""

    def __init__(self, reporter: Reporter, what: str, *, total: int) -> None:
        self._reporter, self._what, self._total = reporter, what, total
        self._done = 0

    def add(self, count: int) -> None:
        self._done += count
        # Repeated questions are not included in the initial total.
        self._total = max(self._total, self._done)
        self._reporter.progress(self._done, self._total, self._what)


def _keep(store: Store, progress: _Progress) -> Keep:
    """Return a function that stores replies and reports them."""

    def keep(replies: Sequence[Reply]) -> None:
        judgments.record_replies(store, [_record(reply) for reply in replies])
        progress.add(len(replies))

    return keep


def _record(reply: Reply) -> ReplyRecord:
    verdict = reply.verdict
    return ReplyRecord(
        **reply.key._asdict(),
        attempt=reply.attempt,
        answer=verdict.answer,
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
