"""Asking of the judges of a suite: in this process, or in processes of their own, with every reply stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from harness.errors import UserError
from harness.judging.stored_replies import ReplyCount, keeper
from harness.progress import Reporter
from judges.base import Judge, Question
from judges.grids import Album
from judges.guarding import opened
from judges.judge_process import Assignment, Job
from judges.panel import ask, described
from judges.processes import ask_in_processes
from judges.prompt import Prompt
from results import Store


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
                    progress = ReplyCount(
                        reporter, f"{member.name} judges {contest.title}", total=len(contest.questions)
                    )
                    ask(member, contest.questions, contest.prompt, album, keeper(store, contest.prompt, progress))
        except UserError as error:
            failures.append(str(error))
    if loading:
        release()
        # One bar for all: judges that run at the same time would take turns on it.
        names = loading[0][0].name if len(loading) == 1 else f"{len(loading)} judges"
        total = sum(len(contest.questions) for _, contests in loading for contest in contests)
        progress = ReplyCount(reporter, f"replies of {names}", total=total)
        assignments = [
            Assignment(
                member,
                [
                    Job(contest.questions, contest.prompt, keeper(store, contest.prompt, progress))
                    for contest in contests
                ],
            )
            for member, contests in loading
        ]
        failures += ask_in_processes(assignments, album, reporter.say)
    return failures
