"""Ballots: written and read again, blind, and untrusted."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from results.errors import StoreError
from results.people import ballot as module
from results.people.ballot import Ballot, ballot_ids, ballot_of, read_ballot, write_ballot

GRIDS = [("a" * 20, "b" * 20), ("b" * 20, "a" * 20), ("c" * 20, "c" * 20)]


def ballot(tournament: str = "0123456789abcdef") -> Ballot:
    return ballot_of(tournament, "A ViT at blocks.9", "people-1", "Choose.\n\nOr not.", GRIDS)


def test_a_ballot_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = write_ballot(tmp_path, ballot())
    read = read_ballot(tmp_path, "0123456789abcdef")
    assert vars(read) == vars(ballot())
    assert {(question.grid_a, question.grid_b) for question in read.questions} == set(GRIDS)
    assert set(json.loads(path.read_text())) == {
        *("format", "tournament", "title", "prompt_version", "instruction", "questions")
    }
    write_ballot(tmp_path, ballot("f00"))
    os.utime(path, (1, 1))
    (path.parent / "notes.txt").write_text("")
    (path.parent / "Up Per.json").write_text("")
    assert ballot_ids(tmp_path) == ["f00", "0123456789abcdef"]


def test_a_question_has_the_same_id_on_every_ballot_and_occurs_once() -> None:
    twice = ballot_of("t", "layer", "people-1", "Choose.", [*GRIDS, *GRIDS[::-1]])
    assert [question.id for question in twice.questions] == [question.id for question in ballot().questions]
    other = ballot_of("t", "layer", "people-2", "Choose.", GRIDS)
    assert not {question.id for question in other.questions} & {question.id for question in twice.questions}


@pytest.mark.parametrize("name", ["", "missing", "../0123456789abcdef", "0" * 65, "A", "a\0"])
def test_a_missing_ballot_is_a_sentence(tmp_path: Path, name: str) -> None:
    write_ballot(tmp_path, ballot())
    with pytest.raises(StoreError, match="There is no ballot"):
        read_ballot(tmp_path, name)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 2}, "format is not 1"),
        ({"format": True}, "format is not 1"),
        ({"tournament": "other"}, "another tournament"),
        ({"title": 3}, "title is no text"),
        ({"title": "x" * 201}, "title is no text"),
        ({"instruction": "x" * 4001}, "instruction is no text"),
        ({"prompt_version": "a b"}, "no version"),
        ({"questions": {}}, "no list"),
        ({"questions": [["a" * 20]]}, "no pair"),
        ({"questions": [["../../etc/passwd", "a" * 20]]}, "no pair"),
        ({"questions": [["a" * 20, None]]}, "no pair"),
        ({"questions": [GRIDS[0], GRIDS[0]]}, "twice"),
    ],
)
def test_another_content_is_a_sentence(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    path = write_ballot(tmp_path, ballot())
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(StoreError, match=rf"The ballot .* cannot be read \(.*{reason}.*repeat `harness judge"):
        read_ballot(tmp_path, "0123456789abcdef")


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000, b"{"])
def test_other_bytes_are_a_sentence(tmp_path: Path, content: bytes) -> None:
    write_ballot(tmp_path, ballot()).write_bytes(content)
    with pytest.raises(StoreError, match="cannot be read"):
        read_ballot(tmp_path, "0123456789abcdef")


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_ballot(tmp_path, ballot())
    monkeypatch.setattr(module, "MAX_BYTES", path.stat().st_size - 1)
    os.utime(path, (1, 1))
    with pytest.raises(StoreError, match="larger than"):
        read_ballot(tmp_path, "0123456789abcdef")
    monkeypatch.setattr(module, "MAX_QUESTIONS", 2)
    with pytest.raises(StoreError, match="too many for people"):
        write_ballot(tmp_path, ballot())
