"""Order of the pairs of an annotator: random, resumed, skipped to the end, undone at once."""

from __future__ import annotations

from results.people.ballot import Ballot, Question, ballot_of
from results.people.standing import shuffled, standing
from results.people.votes import Vote

GRIDS = [(f"{number:020x}", f"{number + 1:020x}") for number in range(30)]


def ballot(tournament: str = "t1") -> Ballot:
    return ballot_of(tournament, "layer", "people-1", "Choose.", GRIDS)


def test_each_annotator_has_an_order_of_their_own_and_keeps_it() -> None:
    first = ballot()
    orders = {name: shuffled(first, name) for name in ("anna", "ben")}
    assert orders["anna"] != orders["ben"]
    assert set(orders["anna"]) == set(orders["ben"]) == set(first.questions) and len(orders["anna"]) == 30
    assert shuffled(ballot(), "anna") == orders["anna"] != shuffled(ballot("t2"), "anna")


def test_answers_are_taken_out_and_the_last_one_counts() -> None:
    order = shuffled(ballot(), "anna")
    now = standing(ballot(), "anna", [Vote(order[0], "A"), Vote(order[1], "tie"), Vote(order[0], "B")])
    assert {question: vote.action for question, vote in now.answered.items()} == {order[0]: "B", order[1]: "tie"}
    assert now.waiting == list(order[2:])
    assert now.last == Vote(order[0], "B")


def test_a_skipped_pair_comes_again_at_the_end_and_can_be_skipped_again() -> None:
    order = list(shuffled(ballot(), "anna"))
    skips = [Vote(order[0], "skip"), Vote(order[1], "skip")]
    now = standing(ballot(), "anna", skips)
    assert now.waiting == [*order[2:], *order[:2]] and now.n_skipped == 2
    again = standing(ballot(), "anna", [*skips, Vote(order[0], "skip")])
    assert again.waiting == [*order[2:], order[1], order[0]]


def test_undone_votes_are_shown_at_once_and_undo_goes_further_back() -> None:
    order = list(shuffled(ballot(), "anna"))
    votes = [Vote(order[0], "A"), Vote(order[1], "skip"), Vote(order[1], "undo")]
    now = standing(ballot(), "anna", votes)
    assert now.waiting == order[1:] and now.last == Vote(order[0], "A")
    before = standing(ballot(), "anna", [*votes, Vote(order[0], "undo")])
    assert before.waiting[:2] == order[:2] and not before.answered and before.last is None


def test_votes_on_other_questions_are_counted_and_change_nothing() -> None:
    elsewhere = [Vote(Question("people-1", "a" * 20, "b" * 20), "A"), Vote(Question("people-2", *GRIDS[0]), "A")]
    now = standing(ballot(), "anna", elsewhere)
    assert now.n_elsewhere == 2 and not now.answered and now.last is None and len(now.waiting) == 30
