"""Files of votes: what is written is read again, and whatever else is in them does no harm."""

from __future__ import annotations

import json
import multiprocessing
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from results.errors import StoreError
from results.people import annotators as names
from results.people import votes as votes_module
from results.people.annotators import annotator_name, annotators, votes_folder
from results.people.ballot import Question
from results.people.votes import Vote, append_votes, bad_lines_sentence, read_votes

FIRST, SECOND = (Question("people-1", f"{number:020x}", "f" * 20) for number in (1, 2))
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def path_of(folder: Path, name: str = "anna") -> Path:
    return votes_folder(folder) / f"{name}.jsonl"


def test_votes_are_read_in_the_order_in_which_they_were_cast(tmp_path: Path) -> None:
    cast = [Vote(FIRST, "A", 2.25, AT), Vote(SECOND, "tie", None, AT), Vote(FIRST, "undo", None, AT)]
    append_votes(tmp_path, "Anna", cast[:1])
    append_votes(tmp_path, "anna", cast[1:])
    assert read_votes(tmp_path, "anna") == (tuple(cast), ())
    assert annotators(tmp_path) == ["anna"]
    assert read_votes(tmp_path, "ben").votes == ()


def test_a_vote_is_on_the_disk_when_it_is_cast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(os.fstat(handle).st_size), fsync(handle))[1])
    append_votes(tmp_path, "anna", [Vote(FIRST, "A")])
    assert synced[-1] == path_of(tmp_path).stat().st_size > 0


def test_a_torn_last_line_costs_only_itself(tmp_path: Path) -> None:
    append_votes(tmp_path, "anna", [Vote(FIRST, "A", 1.0, AT), Vote(SECOND, "B", 1.0, AT)])
    path = path_of(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    assert [vote.question for vote in read_votes(tmp_path, "anna").votes] == [FIRST]
    append_votes(tmp_path, "anna", [Vote(SECOND, "A", 1.0, AT)])
    file = read_votes(tmp_path, "anna")
    assert [(vote.question, vote.action) for vote in file.votes] == [(FIRST, "A"), (SECOND, "A")]
    assert file.bad_lines == (2,)
    assert bad_lines_sentence("anna", file) == "1 line of anna.jsonl is no vote and was ignored (line 2)."


LINE = {"prompt": "people-1", "a": "a" * 20, "b": "b" * 20, "answer": "A", "seconds": 1.5, "at": AT.isoformat()}


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"[" * 400,
        json.dumps({**LINE, "answer": "C"}).encode(),
        json.dumps({**LINE, "answer": ["A"]}).encode(),
        json.dumps({**LINE, "a": 7}).encode(),
        json.dumps({**LINE, "b": ""}).encode(),
        json.dumps({key: value for key, value in LINE.items() if key != "prompt"}).encode(),
        json.dumps({**LINE, "more": "x" * 600}).encode(),
    ],
)
def test_a_line_that_is_no_vote_is_counted_and_named(tmp_path: Path, line: bytes) -> None:
    path = path_of(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\n".join([json.dumps(LINE).encode(), line, json.dumps({**LINE, "answer": "B"}).encode(), b""]))
    file = read_votes(tmp_path, "anna")
    assert [vote.action for vote in file.votes] == ["A", "B"] and file.bad_lines == (2,)


@pytest.mark.parametrize("seconds", ["NaN", "Infinity", "-1", "1e9", '"1"', "true", "9" * 300])
@pytest.mark.parametrize("at", ['"yesterday"', '"2026-01-01"', "7", '"9999-12-31T23:59:59-23:00"'])
def test_times_that_make_no_sense_are_left_out_of_a_vote(tmp_path: Path, seconds: str, at: str) -> None:
    path = path_of(tmp_path)
    path.parent.mkdir(parents=True)
    text = json.dumps({**LINE, "seconds": "SECONDS", "at": "AT"})
    path.write_text(text.replace('"SECONDS"', seconds).replace('"AT"', at) + "\n")
    (vote,) = read_votes(tmp_path, "anna").votes
    assert (vote.action, vote.seconds, vote.at) == ("A", None, None)


def test_a_file_that_is_too_large_a_link_or_a_pipe_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append_votes(tmp_path, "anna", [Vote(FIRST, "A")])
    size = path_of(tmp_path).stat().st_size
    monkeypatch.setattr(votes_module, "MAX_BYTES", size)
    with pytest.raises(StoreError, match=r"The vote was not saved: .* would be larger"):
        append_votes(tmp_path, "anna", [Vote(FIRST, "B")])
    assert path_of(tmp_path).stat().st_size == size
    monkeypatch.setattr(votes_module, "MAX_BYTES", size - 1)
    os.utime(path_of(tmp_path), (1, 1))
    with pytest.raises(StoreError, match="larger than"):
        read_votes(tmp_path, "anna")
    monkeypatch.undo()
    target = tmp_path / "profile"
    target.write_text("keep\n")
    path_of(tmp_path, "ben").symlink_to(target)
    os.mkfifo(path_of(tmp_path, "cleo"))
    for name in ("ben", "cleo"):
        with pytest.raises(StoreError, match=r"link|regular"):
            append_votes(tmp_path, name, [Vote(FIRST, "A")])
        with pytest.raises(StoreError, match=r"link|regular"):
            read_votes(tmp_path, name)
    assert target.read_text() == "keep\n"


def test_the_number_of_annotators_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (names, votes_module):
        monkeypatch.setattr(module, "MAX_ANNOTATORS", 1)
    append_votes(tmp_path, "anna", [Vote(FIRST, "A")])
    append_votes(tmp_path, "anna", [Vote(FIRST, "B")])
    with pytest.raises(StoreError, match="most there may be"):
        append_votes(tmp_path, "ben", [Vote(FIRST, "A")])


@pytest.mark.parametrize("text", ["", " ", "a" * 41, "../anna", "an/na", "anna.", "änna", "anna b", "a\nb", "-\0"])
def test_other_texts_are_no_names(text: str) -> None:
    with pytest.raises(StoreError, match="1 to 40 of the letters a to z"):
        annotator_name(text)


def test_names_are_in_lower_case_and_other_files_are_ignored(tmp_path: Path) -> None:
    assert annotator_name(" Anna_B-2 ") == "anna_b-2"
    folder = votes_folder(tmp_path)
    folder.mkdir(parents=True)
    for name in ("anna.jsonl", "notes.txt", ".hidden.jsonl", "An Na.jsonl"):
        (folder / name).write_text("")
    assert annotators(tmp_path) == ["anna"]


def _vote_often(folder: Path, number: int) -> None:
    for step in range(40):
        append_votes(folder, "anna", [Vote(Question("people-1", f"{number:020x}", f"{step:020x}"), "A", 1.0, AT)])


def test_processes_that_vote_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_vote_often, args=(tmp_path, number)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    file = read_votes(tmp_path, "anna")
    assert not file.bad_lines and len({vote.question for vote in file.votes}) == len(file.votes) == 120
