"""Votes of people in words: how far each annotator is, and where the page is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from results import Store, StoreError
from results.people.annotators import annotators
from results.people.ballot import Ballot, Question, ballot_ids, read_ballot, readable_ballots
from results.people.votes import bad_lines_sentence, read_votes
from results.store import judgments

#: Most addresses that are printed per ballot: a crowd does not need them.
_MOST_PAGES = 5


class AnnotatorVotes(NamedTuple):
    """Votes of one annotator on one ballot."""

    tournament: str
    ballot: str
    annotator: str
    answered: int
    """number of questions with an answer in the store, ties included"""
    ties: int
    questions: int
    """number of questions on the ballot"""
    page: str
    """address of the annotator's page, below that of the app"""


class Turnout(NamedTuple):
    """Votes of all annotators on ballots."""

    rows: list[AnnotatorVotes]
    notes: list[str]
    """sentences on what was left out of the files of votes"""


def ballots_of(store: Store, tournaments: Sequence[str]) -> list[Ballot]:
    """Return the ballots of those tournaments that people judge.

    Raises:
        StoreError: a ballot cannot be read.
    """
    folder = store.path.parent
    return [read_ballot(folder, name) for name in ballot_ids(folder) if name in set(tournaments)]


def turnout_of(store: Store, ballots: Sequence[Ballot]) -> Turnout:
    """Return the votes of each annotator on each ballot.

    Raises:
        StoreError: the store cannot be read.
    """
    folder = store.path.parent
    frame = judgments.tournaments(store)
    rows: list[AnnotatorVotes] = []
    for ballot in ballots:
        answers = judgments.answers_by_judge(store, ballot.tournament).set_index("judge")
        for judge in itertools.chain.from_iterable(frame["judges"][frame["tournament"] == ballot.tournament]):
            annotator = str(judge).partition("/")[2].rpartition("#")[0]
            answered, ties = answers.loc[judge, ["n", "ties"]] if judge in answers.index else (0, 0)
            page = page_address(ballot.tournament, annotator)
            rows.append(
                AnnotatorVotes(
                    ballot.tournament, ballot.title, annotator, int(answered), int(ties), len(ballot.questions), page
                )
            )
    return Turnout(rows, _notes(folder))


def _notes(folder: Path) -> list[str]:
    """Return sentences on what is left out of the files of votes beside a store."""
    on_ballots = frozenset[Question]().union(*(ballot.question_set for ballot in readable_ballots(folder)))
    notes: list[str | None] = []
    for annotator in annotators(folder):
        try:
            file = read_votes(folder, annotator)
        except StoreError as error:
            notes.append(str(error))
            continue
        notes.append(bad_lines_sentence(annotator, file))
        if elsewhere := sum(vote.question not in on_ballots for vote in file.votes):
            votes = "1 vote of" if elsewhere == 1 else f"{elsewhere} votes of"
            notes.append(f"{votes} {annotator} {'is' if elsewhere == 1 else 'are'} on questions of no ballot.")
    return [note for note in notes if note]


def page_address(tournament: str, annotator: str | None = None) -> str:
    """Return the address of the page, below that of the app."""
    parameters = {"tournament": tournament, **({"annotator": annotator} if annotator else {})}
    return f"/vote?{urlencode(parameters)}"


def how_to_vote(store: Path, ballots: Sequence[Ballot], rows: Sequence[AnnotatorVotes]) -> list[str]:
    """Return lines that say how to vote and how to continue."""
    lines = [f"To vote, run `harness app --store {store}` and open:"]
    for ballot in ballots:
        pages = [row.page for row in rows if row.tournament == ballot.tournament]
        lines += [f"  {page}" for page in pages[:_MOST_PAGES] or [page_address(ballot.tournament)]]
    if not rows:
        lines.append("Nobody has voted yet: enter a name on the page, or name an annotator with --judge NAME.")
    return [*lines, "Repeat this command to take the votes into the store."]
