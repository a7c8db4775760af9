"""Standing of an annotator: what is answered, and which pair comes next."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from results.people.ballot import Ballot, Question
from results.people.votes import ANSWERS, SKIP, UNDO, Vote


class Standing(NamedTuple):
    """State of the questions of a ballot after the votes of an annotator."""

    answered: dict[Question, Vote]
    """last vote on each question that has an answer"""
    waiting: list[Question]
    """the other questions, in the order in which they are shown"""
    n_skipped: int
    """questions among `waiting` that were skipped last"""
    last: Vote | None
    """last vote or skip that can be undone"""
    n_elsewhere: int
    """votes on questions that are not on the ballot"""


def standing(ballot: Ballot, annotator: str, votes: Sequence[Vote]) -> Standing:
    """Return the standing of an annotator on a ballot.

    Pairs come in a random order of the annotator's own. An undone pair is shown at once, a skipped one at the end.
    """
    on_ballot = ballot.question_set
    last: dict[Question, tuple[int, Vote]] = {}
    n_elsewhere = 0
    for number, vote in enumerate(votes):
        if vote.question in on_ballot:
            last[vote.question] = (number, vote)
        else:
            n_elsewhere += 1
    answered = {question: vote for question, (_, vote) in last.items() if vote.action in ANSWERS}
    by_time = sorted(last.values())
    skipped = [vote.question for _, vote in by_time if vote.action == SKIP]
    undone = [vote.question for _, vote in reversed(by_time) if vote.action == UNDO]
    placed = {*answered, *skipped, *undone}
    fresh = [question for question in shuffled(ballot, annotator) if question not in placed]
    undoable = [vote for _, vote in by_time if vote.action != UNDO]
    return Standing(
        answered, [*undone, *fresh, *skipped], len(skipped), undoable[-1] if undoable else None, n_elsewhere
    )


@lru_cache(maxsize=64)
def shuffled(ballot: Ballot, annotator: str) -> tuple[Question, ...]:
    """Return the questions in the random order of an annotator, always the same."""
    seed = hashlib.blake2b(f"{ballot.tournament}|{annotator}".encode(), digest_size=8).digest()
    questions = list(ballot.questions)
    random.Random(int.from_bytes(seed, "big")).shuffle(questions)
    return tuple(questions)
