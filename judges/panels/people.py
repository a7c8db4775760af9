"""People who look at the grids on a page of the app, or on a crowd platform; one judge per annotator.

They vote when they have time. So a run of `harness judge` writes the ballot that the page shows, and takes in the votes
that there are (:mod:`results.people`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from judges.base import Judge, Keep, Preparation, Question, Reply
from judges.grids import Album
from judges.panel import JOINED_FREELY, PANELS, Wanted
from judges.prompt import Prompt
from methods.errors import UserError
from results.errors import StoreError
from results.people import ballot as ballots
from results.people.annotators import annotator_name, annotators
from results.people.votes import ANSWERS, TIE, Vote, read_votes

#: Number of replies that are stored together.
KEPT_TOGETHER = 2000


class PeopleJudge(Judge):
    """One annotator, whose votes are in a file beside the store."""

    kind = "people"
    protocol = "people"
    joins_freely = True
    answers_later = True

    def __init__(self, name: str, folder: Path | None, *, named: bool) -> None:
        self.name = name
        self._folder = folder
        self._named = named

    @classmethod
    def prepare(cls, preparation: Preparation) -> None:
        """Draw the grids and write the ballot, after which the page can be opened."""
        grids = {grid.key: grid for question in preparation.questions for grid in question.pictures}
        for number, grid in enumerate(grids.values()):
            preparation.progress(number, len(grids), f"grids of {preparation.title}")
            preparation.album.file(grid)
        ballots.write_ballot(
            preparation.folder,
            ballots.ballot_of(
                preparation.tournament,
                preparation.title,
                preparation.prompt.version,
                preparation.prompt.text,
                [(question.grid_a.key, question.subject) for question in preparation.questions],
            ),
        )

    def takes_part(self, questions: Sequence[Question], prompt: Prompt) -> bool:
        """Return whether the annotator was named, or has voted on one of the questions."""
        asked = {self._question(question, prompt) for question in questions}
        return self._named or not asked.isdisjoint(vote.question for vote in self._votes())

    def ask(self, questions: Sequence[Question], prompt: Prompt, album: Album, keep: Keep) -> None:
        """Pass on the last vote on each question; a skipped or undone vote is a reply that has not come."""
        last = {vote.question: vote for vote in self._votes()}
        replies = []
        for question in questions:
            vote = last.get(self._question(question, prompt))
            if vote is not None:
                replies.append(self._reply(question, prompt, vote))
        for start in range(0, len(replies), KEPT_TOGETHER):
            keep(replies[start : start + KEPT_TOGETHER])

    def _reply(self, question: Question, prompt: Prompt, vote: Vote) -> Reply:
        text = json.dumps({"answer": vote.action}) if vote.action in ANSWERS else None
        reason = "stop" if vote.action in ANSWERS and vote.action != TIE else vote.action
        return Reply(self.key(question, prompt), question.attempt, text, reason, vote.seconds, replied_at=vote.at)

    def _question(self, question: Question, prompt: Prompt) -> ballots.Question:
        return ballots.Question(prompt.version, question.grid_a.key, question.subject)

    def _votes(self) -> tuple[Vote, ...]:
        return read_votes(self._folder, self.name).votes if self._folder is not None else ()


def judges_for(wanted: Wanted) -> tuple[Judge, ...]:
    """Return the annotators that are named, and those with a file of votes beside the store.

    Raises:
        UserError: an option, or a judge whose name is no name of an annotator.
    """
    if wanted.options:
        raise UserError(f"A people panel has no options; remove {', '.join(wanted.options)}.")
    named = [_name(entry) for entry in wanted.judges]
    if len(set(named)) < len(named):
        raise UserError(f"An annotator is named twice: {', '.join(named)}.")
    others = [] if wanted.folder is None else annotators(wanted.folder)
    return tuple(PeopleJudge(name, wanted.folder, named=name in named) for name in sorted({*named, *others}))


def _name(entry: Any) -> str:
    others = [key for key in entry if key != "name"]
    if others:
        raise UserError(f"A judge of a people panel has a name only; remove {', '.join(others)}.")
    try:
        return annotator_name(str(entry.get("name", "")))
    except StoreError as error:
        raise UserError(str(error)) from error


JOINED_FREELY["people"] = PeopleJudge
PANELS.add("people", judges_for, description="people who vote on a page of the app, or on a crowd platform")
