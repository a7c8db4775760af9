"""Votes of people beside several stores, united beside one: files of votes, and ballots."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from results.errors import StoreError
from results.people.annotators import annotators
from results.people.ballot import ballot_ids, read_ballot, write_ballot
from results.people.votes import Vote, append_votes, read_votes

#: Time of a vote that has none: any other one is later.
_NEVER = datetime.min.replace(tzinfo=UTC)


def unite_votes(target: Path, sources: Sequence[Path]) -> int:
    """Add the votes and ballots beside several stores to those beside one, and return the number of votes added.

    Of a question, the vote that was cast last counts, wherever it was cast: an older one of another store is left out.
    Ballots that cannot be read are left out, since `harness judge` writes them again.

    Args:
        target: folder of the store that receives them.
        sources: folders of the stores; ``target`` may be among them.

    Raises:
        StoreError: votes cannot be read or written.
    """
    others = [folder for folder in dict.fromkeys(sources) if not _same_folder(folder, target)]
    n_added = 0
    for annotator in sorted({name for folder in others for name in annotators(folder)}):
        there = read_votes(target, annotator).votes
        last = {vote.question: _time(vote) for vote in there}
        have = {(vote.question, vote.action, vote.at) for vote in there}
        later: dict[tuple[object, ...], Vote] = {}
        for vote in (vote for folder in others for vote in read_votes(folder, annotator).votes):
            is_new = vote.question not in last or _time(vote) > last[vote.question]
            if is_new and (vote.question, vote.action, vote.at) not in have:
                later.setdefault((vote.question, vote.action, vote.at), vote)
        if later:
            append_votes(target, annotator, sorted(later.values(), key=_time))
            n_added += len(later)
    have_ballots = set(ballot_ids(target))
    for folder, name in _ballots(others):
        if name not in have_ballots:
            with contextlib.suppress(StoreError):
                write_ballot(target, read_ballot(folder, name))
                have_ballots.add(name)
    return n_added


def _ballots(folders: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    return ((folder, name) for folder in folders for name in ballot_ids(folder))


def _time(vote: Vote) -> datetime:
    return vote.at or _NEVER


def _same_folder(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
