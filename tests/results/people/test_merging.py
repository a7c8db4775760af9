"""Votes beside several stores, united beside one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from results.errors import StoreError
from results.people.annotators import annotators, votes_folder
from results.people.ballot import Question, ballot_ids, ballot_of, read_ballot, write_ballot
from results.people.merging import unite_votes
from results.people.votes import Vote, append_votes, read_votes

FIRST, SECOND, THIRD = (Question("people-1", f"{number:020x}", "f" * 20) for number in (1, 2, 3))
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def at(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)


def actions(folder: Path, name: str = "anna") -> list[tuple[Question, str]]:
    return [(vote.question, vote.action) for vote in read_votes(folder, name).votes]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    one, two = tmp_path / "one", tmp_path / "two"
    append_votes(one, "anna", [Vote(FIRST, "A", 1.0, at(0)), Vote(SECOND, "A", 1.0, at(3))])
    append_votes(
        two, "anna", [Vote(FIRST, "A", 1.0, at(0)), Vote(FIRST, "B", 1.0, at(1)), Vote(SECOND, "B", 1.0, at(2))]
    )
    append_votes(two, "ben", [Vote(THIRD, "tie", None, at(0))])
    return one, two


def test_of_each_question_the_vote_cast_last_counts(folders: tuple[Path, Path], tmp_path: Path) -> None:
    one, two = folders
    assert unite_votes(one, [one, two]) == 2
    # Only what is later than the own last vote is added.
    assert actions(one) == [(FIRST, "A"), (SECOND, "A"), (FIRST, "B")] and actions(one, "ben") == [(THIRD, "tie")]
    assert unite_votes(one, [one, two]) == 0
    # In a new folder nothing is left out, and the order in which the stores are given does not matter.
    united = [tmp_path / name for name in ("x", "y")]
    assert [unite_votes(united[0], [one, two]), unite_votes(united[1], [two, one])] == [5, 5]
    for folder in united:
        assert dict(actions(folder)) == {FIRST: "B", SECOND: "A"}
        assert annotators(folder) == ["anna", "ben"]


def test_the_other_folders_are_only_read(folders: tuple[Path, Path]) -> None:
    one, two = folders
    before = (votes_folder(two) / "anna.jsonl").read_bytes()
    unite_votes(one, [two])
    assert (votes_folder(two) / "anna.jsonl").read_bytes() == before


def test_a_link_to_the_own_folder_adds_nothing(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folders[0], target_is_directory=True)
    assert unite_votes(folders[0], [tmp_path / "link", tmp_path / "nothing here"]) == 0


def test_ballots_come_along_and_unreadable_ones_stay(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    ballots = [ballot_of(name, "title", "people-1", "Choose.", [("a", "b")]) for name in ("t1", "t2")]
    write_ballot(one, ballots[0])
    write_ballot(two, ballots[1])
    (two / "people" / "ballots" / "t3.json").write_text("{")
    unite_votes(one, [one, two])
    assert sorted(ballot_ids(one)) == ["t1", "t2"]
    assert read_ballot(one, "t2").questions == ballots[1].questions


def test_votes_that_cannot_be_read_are_an_error(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("results.people.votes.MAX_BYTES", 50)
    with pytest.raises(StoreError, match=r"votes of anna in .* cannot be read"):
        unite_votes(*folders[:1], [folders[1]])
