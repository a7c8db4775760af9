"""Exchange with a crowd platform: every question once, and all answers of a file or none."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from results.errors import StoreError
from results.people import crowd
from results.people.annotators import annotators
from results.people.ballot import Ballot, ballot_of, write_ballot
from results.people.crowd import export_questions, import_answers
from results.people.standing import standing
from results.people.votes import Vote, read_votes

GRIDS = [("a" * 20, "b" * 20), ("b" * 20, "a" * 20), ("c" * 20, "d" * 20)]


@pytest.fixture
def ballot(tmp_path: Path) -> Ballot:
    made = ballot_of("t1", "layer", "people-1", '=HYPERLINK("x")\nChoose.', GRIDS)
    write_ballot(tmp_path, made)
    return made


def answers_of(folder: Path, ballot: Ballot, name: str) -> dict[str, str]:
    answered = standing(ballot, name, read_votes(folder, name).votes).answered
    return {question.id: vote.action for question, vote in answered.items()}


def test_questions_are_written_with_the_paths_of_their_images(tmp_path: Path, ballot: Ballot) -> None:
    (tmp_path / "crowd").mkdir()
    file = tmp_path / "crowd" / "pairs.csv"
    assert export_questions(tmp_path, [ballot], file) == 3
    rows = list(csv.DictReader(file.open()))
    assert [row["question"] for row in rows] == [question.id for question in ballot.questions]
    paths = {(row["image_a"], row["image_b"]) for row in rows}
    assert paths == {(f"../grids/{a[:2]}/{a}.jpg", f"../grids/{b[:2]}/{b}.jpg") for a, b in GRIDS}
    # A spreadsheet program must not take the instruction for a formula.
    assert {row["instruction"] for row in rows} == {'\'=HYPERLINK("x") Choose.'}
    export_questions(tmp_path, [ballot], file, absolute=True)
    row = next(csv.DictReader(file.open()))
    assert row["image_a"] == str(tmp_path / "grids" / row["image_a"][-24:-22] / row["image_a"][-24:])


def test_answers_become_votes_and_the_same_file_again_adds_nothing(tmp_path: Path, ballot: Ballot) -> None:
    first, second, third = (question.id for question in ballot.questions)
    file = tmp_path / "answers.csv"
    file.write_text(
        f"\ufeffannotator,question,seconds,answer\nW1,{first},3.5,A\nW1,{second},,TIE\n\nw-2,{first},1,b\n", "utf-8"
    )
    assert import_answers(tmp_path, file) == {"w1": 2, "w-2": 1}
    assert answers_of(tmp_path, ballot, "w1") == {first: "A", second: "tie"}
    assert answers_of(tmp_path, ballot, "w-2") == {first: "B"}
    assert [vote.seconds for vote in read_votes(tmp_path, "w1").votes] == [3.5, None]
    assert import_answers(tmp_path, file) == {"w1": 0, "w-2": 0}
    assert len(read_votes(tmp_path, "w1").votes) == 2
    file.write_text(f"question,annotator,answer\n{first},w1,B\n{third},w1,A\n")
    assert import_answers(tmp_path, file) == {"w1": 2}
    assert answers_of(tmp_path, ballot, "w1") == {first: "B", second: "tie", third: "A"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("question,annotator\n{0},w1\n", "line 1: the column answer is missing"),
        ("question,annotator,answer,age\n{0},w1,A,7\n", "line 1: there is no column 'age'"),
        ("question,annotator,answer,answer\n{0},w1,A,A\n", "line 1: a column occurs twice"),
        ("", "line 1: the column question is missing"),
        ("question,annotator,answer\n{0},w1,A\n{0},w2,C\n", "line 3: the answer is 'C'; it must be A, B or tie"),
        ("question,annotator,answer\n{0},w1,A\nabc,w1,A\n", "line 3: there is no question 'abc'"),
        ("question,annotator,answer\n{0},w1,A\n{1},../w,A\n", "line 3: '../w' is no name of an annotator"),
        ("question,annotator,answer\n{0},w1,A\n{0},W1,B\n", "line 3: w1 has answered"),
        ("question,annotator,answer\n{0},w1\n", "line 2: there are 2 fields for 3 columns"),
        ("question,annotator,answer,seconds\n{0},w1,A,nan\n", "line 2: seconds is 'nan'"),
        ("question,annotator,answer,seconds\n{0},w1,A,soon\n", "line 2: seconds is 'soon'"),
        ("question,annotator,answer\n{0},w1," + "A" * 300 + "\n", "line 2: a field has more than 200"),
    ],
)
def test_a_file_with_anything_wrong_adds_nothing(tmp_path: Path, ballot: Ballot, text: str, problem: str) -> None:
    file = tmp_path / "answers.csv"
    ids = [question.id for question in ballot.questions]
    file.write_text(text.replace("{0}", ids[0]).replace("{1}", ids[1]))
    with pytest.raises(StoreError) as caught:
        import_answers(tmp_path, file)
    assert f"answers.csv, {problem}" in str(caught.value) and str(caught.value).endswith("Nothing was imported.")
    assert annotators(tmp_path) == []


def test_other_files_are_a_sentence(tmp_path: Path, ballot: Ballot) -> None:
    file = tmp_path / "answers.csv"
    with pytest.raises(StoreError, match="cannot be read"):
        import_answers(tmp_path, file)
    file.write_bytes(b"question\xff")
    with pytest.raises(StoreError, match="not UTF-8"):
        import_answers(tmp_path, file)
    (tmp_path / "other").mkdir()
    with pytest.raises(StoreError, match="There is no ballot"):
        import_answers(tmp_path / "other", file)


def test_too_many_names_are_refused_before_any_file_is_read(
    tmp_path: Path, ballot: Ballot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("results.people.crowd.MAX_ANNOTATORS", 2)
    monkeypatch.setattr("results.people.crowd.read_votes", lambda *_: pytest.fail("read"))
    first = ballot.questions[0].id
    file = tmp_path / "answers.csv"
    file.write_text("question,annotator,answer\n" + "".join(f"{first},w{number},A\n" for number in range(3)))
    with pytest.raises(StoreError, match=r"answers.csv, line 4: there are more than 2 annotators in the file. Nothing"):
        import_answers(tmp_path, file)
    assert annotators(tmp_path) == []


def test_an_import_that_stops_half_way_says_how_far_it_came(
    tmp_path: Path, ballot: Ballot, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ballot.questions[0].id
    file = tmp_path / "answers.csv"
    file.write_text(f"question,annotator,answer\n{first},w1,A\n{first},w2,B\n")
    append = crowd.append_votes

    def fails(folder: Path, annotator: str, votes: list[Vote]) -> None:
        if annotator == "w2":
            raise StoreError("The vote was not saved.")
        append(folder, annotator, votes)

    monkeypatch.setattr(crowd, "append_votes", fails)
    with pytest.raises(StoreError, match=r"not saved. The answers of 1 annotators are imported; import the file again"):
        import_answers(tmp_path, file)
    monkeypatch.undo()
    assert import_answers(tmp_path, file) == {"w1": 0, "w2": 1}
