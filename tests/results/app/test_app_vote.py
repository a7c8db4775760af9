"""The page Vote under streamlit's own test runner: who may vote, what is shown, and what a press writes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("streamlit")
from app_pages import opened, require_sound, show, store_in, texts
from PIL import Image
from streamlit.testing.v1 import AppTest

from results import Store
from results.app import data
from results.people.ballot import Ballot, ballot_of, grid_file, write_ballot
from results.people.standing import shuffled
from results.people.votes import Vote, append_votes, read_votes

GRIDS = [(f"{number:020x}", f"{number + 1:020x}") for number in range(4)]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_in(tmp_path_factory.mktemp("vote"))


@pytest.fixture
def ballot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ballot:
    """A ballot of four questions in an empty folder; the page needs no store."""
    show(Store(tmp_path / "missing.duckdb"), monkeypatch)
    monkeypatch.setenv(data.VOTES_VARIABLE, "1")
    return make_ballot(tmp_path)


def make_ballot(folder: Path, tournament: str = "0123abcd", title: str = "A ViT at blocks.9") -> Ballot:
    made = ballot_of(tournament, title, "people-1", "Choose one.\n\nOr *tie*.", GRIDS)
    write_ballot(folder, made)
    for number in range(5):
        file = grid_file(folder, f"{number:020x}")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (90, 90), (40 * number, 100, 50)).save(file)
    return made


def voting(name: str = "anna", tournament: str = "0123abcd") -> AppTest:
    test = opened("vote", tournament=tournament, annotator=name)
    require_sound(test)
    return test


def press(test: AppTest, label: str) -> AppTest:
    next(button for button in test.button if button.label == label).click().run()
    require_sound(test)
    return test


def parameter(test: AppTest, name: str) -> str:
    """Value of a parameter of the address, which streamlit's test runner has as a text or a list."""
    value = test.query_params[name]
    return value if isinstance(value, str) else "".join(value)


def actions(ballot: Ballot, folder: Path, name: str = "anna") -> list[tuple[int, str]]:
    """Position of the question in the annotator's order and action, of each vote."""
    order = shuffled(ballot, name)
    return [(order.index(vote.question), vote.action) for vote in read_votes(folder, name).votes]


def test_each_press_is_written_and_the_next_pair_is_shown(ballot: Ballot, tmp_path: Path) -> None:
    test = voting()
    assert "0 of 4" in texts(test) and test.title[0].value == "Which grid shows one concept?"
    press(press(press(test, "Grid A"), "Tie"), "Skip")
    assert actions(ballot, tmp_path) == [(0, "A"), (1, "tie"), (2, "skip")]
    assert "2 of 4, 1 skipped" in texts(test)
    seconds = [vote.seconds for vote in read_votes(tmp_path, "anna").votes]
    assert all(value is not None and 0 <= value < 30 for value in seconds)
    # Another visit continues; the skipped pair comes last.
    again = voting()
    assert "2 of 4, 1 skipped" in texts(again)
    press(press(again, "Grid B"), "Grid B")
    assert actions(ballot, tmp_path)[3:] == [(3, "B"), (2, "B")]
    assert again.title[0].value == "All questions are answered" and "4 of 4" in texts(again)


def test_undo_takes_back_one_vote_after_the_other(ballot: Ballot, tmp_path: Path) -> None:
    test = press(press(voting(), "Grid A"), "Grid B")
    press(press(test, "Undo"), "Undo")
    assert actions(ballot, tmp_path)[2:] == [(1, "undo"), (0, "undo")]
    assert "0 of 4" in texts(test)
    assert next(button for button in test.button if button.label == "Undo").disabled
    press(test, "Grid B")
    assert actions(ballot, tmp_path)[-1] == (0, "B")


def test_a_late_press_in_another_tab_replaces_nothing(ballot: Ballot, tmp_path: Path) -> None:
    first, second = voting(), voting()
    press(first, "Grid A")
    press(second, "Grid B")
    assert actions(ballot, tmp_path) == [(0, "A")]
    assert "1 of 4" in texts(second)
    press(second, "Grid B")
    assert actions(ballot, tmp_path) == [(0, "A"), (1, "B")]


def test_annotators_do_not_see_one_another(ballot: Ballot, tmp_path: Path) -> None:
    press(voting("anna"), "Grid A")
    other = press(voting("Ben"), "Grid B")
    assert "1 of 4" in texts(other) and parameter(other, "annotator") == "ben"
    assert actions(ballot, tmp_path) == [(0, "A")] and actions(ballot, tmp_path, "ben") == [(0, "B")]


def test_a_name_is_entered_once_and_stays_in_the_address(ballot: Ballot) -> None:
    test = opened("vote")
    test.text_input[0].input("An na")
    next(button for button in test.button if button.label == "Start").click().run()
    assert "is no name of an annotator" in test.warning[0].value
    test.text_input[0].input("Anna")
    next(button for button in test.button if button.label == "Start").click().run()
    require_sound(test)
    assert (parameter(test, "annotator"), parameter(test, "tournament")) == ("anna", "0123abcd")
    assert "0 of 4" in texts(test)
    press(test, "Change name")
    assert test.title[0].value == "Vote" and "annotator" not in test.query_params


def test_several_ballots_are_chosen_by_their_layer(ballot: Ballot, tmp_path: Path) -> None:
    make_ballot(tmp_path, "beef", "A CNN at conv_head")
    test = opened("vote", annotator="anna")
    assert sorted(test.selectbox[0].options) == ["A CNN at conv_head, 4 questions", "A ViT at blocks.9, 4 questions"]
    test.text_input[0].input("anna")
    next(button for button in test.button if button.label == "Start").click().run()
    assert parameter(test, "tournament") == "beef"


@pytest.mark.parametrize(
    ("address", "allowed", "variable"),
    [
        ("localhost", True, ""),
        ("127.0.0.1", True, ""),
        ("::1", True, ""),
        ("0.0.0.0", False, ""),
        ("", False, ""),
        ("192.168.0.7", False, ""),
        ("0.0.0.0", True, "1"),
    ],
)
def test_votes_are_taken_on_this_machine_or_if_asked_for(
    ballot: Ballot, monkeypatch: pytest.MonkeyPatch, address: str, allowed: bool, variable: str
) -> None:
    import streamlit as st

    monkeypatch.setenv(data.VOTES_VARIABLE, variable)
    get_option = st.get_option
    monkeypatch.setattr(
        st, "get_option", lambda name: (address or None) if name == "server.address" else get_option(name)
    )
    test = opened("vote", tournament="0123abcd", annotator="anna")
    require_sound(test)
    assert ("takes no votes" in texts(test)) != allowed
    assert any(button.label == "Tie" for button in test.button) == allowed


def test_the_page_is_in_the_navigation_if_there_is_a_ballot(ballot: Ballot, tmp_path: Path) -> None:
    from results.app import navigation

    assert navigation.page("vote").visibility == "visible"
    (tmp_path / "people" / "ballots" / "0123abcd.json").unlink()
    assert navigation.page("vote").visibility == "hidden"


def test_the_page_judges_leads_to_the_ballot_of_its_tournament(
    recorded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(recorded, monkeypatch)
    label = "Vote on pairs yourself"
    test = opened("judges", tournament="tournament-1")
    assert label not in [link.proto.label for link in test.get("page_link")]
    make_ballot(recorded.path.parent)
    test = opened("judges", tournament="tournament-1")
    require_sound(test)
    assert label in [link.proto.label for link in test.get("page_link")]
    # The proxies of this store have answered the same questions.
    (table,) = [frame.value for frame in test.dataframe if "kappa" in frame.value.columns]
    assert len(table) == 3 and set(table["questions"]) == {8, 6}


def test_without_a_ballot_the_page_teaches_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    show(Store(tmp_path / "missing.duckdb"), monkeypatch)
    monkeypatch.setenv(data.VOTES_VARIABLE, "1")
    test = opened("vote")
    require_sound(test)
    assert "harness judge --suite demo --panel people --judge NAME" in test.info[0].value


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"\xff\xd8\xff\xe0" + b"0" * 50])
def test_pairs_whose_picture_cannot_be_read_are_passed_over_and_named_at_the_end(
    ballot: Ballot, tmp_path: Path, content: bytes | None
) -> None:
    lost = shuffled(ballot, "anna")[0].grid_a
    file = grid_file(tmp_path, lost)
    file.unlink() if content is None else file.write_bytes(content)
    whole = [q for q in shuffled(ballot, "anna") if lost not in (q.grid_a, q.grid_b)]
    test = voting()
    for _ in whole:
        press(test, "Grid A")
    assert {vote.question for vote in read_votes(tmp_path, "anna").votes} == set(whole)
    assert test.title[0].value == "There is nothing left to ask"
    n = len(GRIDS) - len(whole)
    assert test.warning[0].value.startswith(f"{n} pairs have no answer" if n > 1 else "1 pair has no answer")
    assert not [button.label for button in test.button if button.label.startswith("Grid")]


def test_a_ballot_without_questions_says_so(ballot: Ballot, tmp_path: Path) -> None:
    write_ballot(tmp_path, ballot_of("0123abcd", "A ViT", "people-1", "Choose.", []))
    test = voting()
    assert test.title[0].value == "There is nothing left to ask" and "no questions" in test.info[0].value
    assert not test.success


def test_a_vote_that_cannot_be_saved_says_so_and_the_pair_stays(
    ballot: Ballot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = voting()
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    next(button for button in test.button if button.label == "Grid A").click().run()
    assert "The vote was not saved" in test.error[0].value and "No space left on device" in test.error[0].value
    assert "0 of 4" in texts(test) and actions(ballot, tmp_path) == []
    monkeypatch.undo()


def test_a_damaged_ballot_and_a_damaged_file_of_votes_are_sentences(ballot: Ballot, tmp_path: Path) -> None:
    append_votes(tmp_path, "anna", [Vote(ballot.questions[0], "A")])
    with (tmp_path / "people" / "votes" / "anna.jsonl").open("ab") as file:
        file.write(b"{broken\n")
    assert "1 of 4" in texts(voting())
    (tmp_path / "people" / "ballots" / "0123abcd.json").write_text("{}")
    test = opened("vote", tournament="0123abcd", annotator="anna")
    assert not test.exception and "cannot be read" in test.error[0].value


def test_nothing_on_the_page_names_a_grid_a_method_or_a_unit(ballot: Ballot) -> None:
    test = voting()
    sent = str([element.proto for element in [*test.main, *test.get("imgs")]]) + texts(test)
    assert not any(key in sent for pair in GRIDS for key in pair)
    assert not any(question.id in sent for question in ballot.questions)
