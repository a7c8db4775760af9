"""People as judges, from the ballot over votes on the disk to win rates, and back after a vote is taken back."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from judging_store import make_store, pictures
from people_store import AT, CELLS, comparisons_of, judge_id, judged, row_of, vote
from PIL import Image
from typer.testing import CliRunner

from harness import judging
from harness.cli import app
from harness.datasets.base import ImageSet
from harness.judging.people import turnout_of
from harness.suites import Judging
from judges.panel import Panel, Wanted, make_panel
from methods.errors import UserError
from results import Store, leaderboard, open_store
from results.people.ballot import Question, grid_file, read_ballot
from results.people.votes import Vote, append_votes
from results.store import judgments
from results.verify import verify

pytestmark = pytest.mark.run


@pytest.fixture(scope="module")
def images(photo_folder: Path) -> ImageSet:
    return pictures(photo_folder)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, images: ImageSet) -> Path:
    return make_store(tmp_path_factory.mktemp("recorded") / "r.duckdb", images).path


@pytest.fixture
def store(recorded: Path, tmp_path: Path) -> Store:
    return open_store(shutil.copy(recorded, tmp_path / "r.duckdb"), read_only=False)


def wrong_in(store: Store) -> list[object]:
    """Problems that `harness verify` finds in what was judged; the cells of the store are made up."""
    return [problem for problem in verify(store).problems if problem.check != "unit scores"]


def replies(store: Store) -> pd.DataFrame:
    return store.query("SELECT * FROM replies ORDER BY judge, grid_a, grid_b, attempt")


def test_a_ballot_is_blind_and_its_pictures_are_there(store: Store, images: ImageSet) -> None:
    contest = judged(store, images, "anna")
    folder = store.path.parent
    ballot = read_ballot(folder, contest.tournament)
    assert set(ballot.questions) == set(comparisons_of(store, contest))
    assert len(ballot.questions) == 3 * 2 * 2 * 2 + 2
    text = (folder / "people" / "ballots" / f"{contest.tournament}.json").read_text()
    assert not any(word in text for word in ("identity", "random_split", "pure", "cell", *CELLS))
    for question in ballot.questions:
        for key in (question.grid_a, question.grid_b):
            with Image.open(grid_file(folder, key)) as picture:
                assert picture.size == (1008, 1008)


def test_a_ballot_without_votes_is_no_column_of_a_board_and_no_failure(store: Store, images: ImageSet) -> None:
    contest = judged(store, images, "anna")
    assert (contest.panel, contest.asked, contest.kept) == ("people", 0, 0)
    row = row_of(store, contest.tournament)
    assert row["n_missing"] == 26 and row["judges"] == [judge_id("anna")]
    assert judgments.win_rates(store).empty and replies(store).empty
    (board,) = leaderboard(store)
    assert not [column for column in board.columns if column.metric == "win_rate"]


def test_votes_become_replies_and_win_rates(store: Store, images: ImageSet) -> None:
    contest = judged(store, images, "anna")
    vote(store, contest, "anna")
    again = judged(store, images)
    assert (again.tournament, again.asked, again.kept) == (contest.tournament, 26, 0)
    rates = judgments.win_rates(store).set_index("label")
    assert rates["win_rate"].to_dict() == {"pure": 1.0, "identity": 0.5, "random_split": 0.0}
    row = row_of(store, contest.tournament)
    (health,) = row["health"]
    assert row["n_missing"] == 0 and health["n"] == 24 and health["invalid"] == health["ties"] == 0
    assert health["swap_consistency"] == 1.0
    stored = replies(store)
    assert len(stored) == 26 and set(stored["attempt"]) == {1} and set(stored["seconds"]) == {1.5}
    assert set(pd.to_datetime(stored["replied_at"], utc=True)) == {pd.Timestamp(AT)}
    assert set(stored["raw"]) == {'{"answer": "A"}', '{"answer": "B"}', '{"answer": "tie"}'}
    assert stored["answer"].isna().sum() == 2
    # Nothing is open, and nothing changes.
    last = judged(store, images)
    assert (last.asked, last.kept) == (0, 26)
    pd.testing.assert_frame_equal(replies(store), stored)
    assert wrong_in(store) == []


def test_some_votes_are_scored_and_the_rest_stays_open(store: Store, images: ImageSet) -> None:
    contest = judged(store, images, "anna")
    votes = vote(store, contest, "anna", 10)
    assert judged(store, images).asked == 10
    row = row_of(store, contest.tournament)
    (health,) = row["health"]
    n_ties = sum(one.action == "tie" for one in votes)
    assert row["n_missing"] == 16 and health["n"] == 10 - n_ties and health["invalid"] == 0
    assert judgments.win_rates(store)["n"].sum() == 2 * (10 - n_ties)
    assert judgments.win_rates(store)["ties"].sum() == 0
    (board,) = leaderboard(store)
    assert "win_rate of people is not complete: 16 comparisons have no answer yet." in board.notes
    assert any(note.startswith("win_rate is judged by people") for note in board.notes)
    assert wrong_in(store) == []


def test_a_tournament_stays_the_same_when_somebody_joins_and_an_even_number_is_allowed(
    store: Store, images: ImageSet
) -> None:
    contest = judged(store, images, "anna")
    vote(store, contest, "anna", 12)
    # Ben entered his name on the page; nobody names him.
    vote(store, contest, "ben", 8)
    again = judged(store, images)
    assert again.tournament == contest.tournament and again.asked == 20
    row = row_of(store, contest.tournament)
    assert row["judges"] == [judge_id("anna"), judge_id("ben")]
    assert [health["n"] > 0 for health in row["health"]] == [True, True]
    assert len(judgments.tournaments(store)) == 1
    assert wrong_in(store) == []


def test_nobody_is_no_error_and_other_ballots_votes_make_no_member(store: Store, images: ImageSet) -> None:
    contest = judged(store, images)
    assert row_of(store, contest.tournament)["judges"] == []
    append_votes(store.path.parent, "anna", [Vote(Question("people-1", "a" * 20, "b" * 20), "A")])
    assert row_of(store, judged(store, images).tournament)["judges"] == []
    ballot = read_ballot(store.path.parent, contest.tournament)
    judged(store, images, "anna")
    rows, notes = turnout_of(store, [ballot])
    assert [(row.annotator, row.answered, row.questions) for row in rows] == [("anna", 0, 26)]
    assert notes == ["1 vote of anna is on questions of no ballot."]


def test_a_changed_and_an_undone_vote_replace_what_was_stored(store: Store, images: ImageSet) -> None:
    contest = judged(store, images, "anna")
    first, second, *_ = vote(store, contest, "anna", 6)
    judged(store, images)
    other = "B" if first.action == "A" else "A"
    append_votes(store.path.parent, "anna", [Vote(first.question, other, 2.0, AT), Vote(second.question, "undo")])
    again = judged(store, images)
    assert (again.asked, again.kept, again.changed, again.withdrawn) == (0, 6, 1, 1)
    append_votes(store.path.parent, "anna", [Vote(first.question, "tie", 2.0, AT)])
    assert (judged(store, images).changed, judged(store, images).changed) == (1, 0)
    append_votes(store.path.parent, "anna", [Vote(first.question, other, 2.0, AT)])
    judged(store, images)
    stored = replies(store).set_index(["grid_a", "grid_b"])
    assert stored.loc[(first.question.grid_a, first.question.grid_b), "answer"] == other
    assert pd.isna(stored.loc[(second.question.grid_a, second.question.grid_b), "raw"])
    assert row_of(store, contest.tournament)["n_missing"] == 26 - 5
    assert wrong_in(store) == []


def test_votes_in_the_store_count_if_their_files_are_gone(store: Store, images: ImageSet) -> None:
    contest = judged(store, images, "anna")
    vote(store, contest, "anna", 12)
    judged(store, images)
    before = judgments.win_rates(store).set_index("label")["win_rate"]
    shutil.rmtree(store.path.parent / "people" / "votes")
    again = judged(store, images, "ben")
    assert again.tournament == contest.tournament
    assert row_of(store, contest.tournament)["judges"] == [judge_id("anna"), judge_id("ben")]
    assert judgments.win_rates(store).set_index("label")["win_rate"].to_dict() == before.to_dict()
    turnout = turnout_of(store, [read_ballot(store.path.parent, contest.tournament)])
    assert [(row.annotator, row.answered) for row in turnout.rows] == [("anna", 12), ("ben", 0)]


def test_no_pair_is_voted_on_twice_when_a_method_is_added(store: Store, images: ImageSet) -> None:
    two = [cell for cell in CELLS if not cell.startswith("pure")]
    contest = judged(store, images, "anna", cells=two, controls=0)
    votes = vote(store, contest, "anna")
    judged(store, images, cells=two, controls=0)
    larger = judged(store, images, controls=0)
    assert larger.tournament != contest.tournament
    ballot = read_ballot(store.path.parent, larger.tournament)
    assert {one.question for one in votes} < set(ballot.questions)
    assert (larger.asked, larger.kept) == (0, 8)
    (turnout,), _ = turnout_of(store, [ballot])
    assert (turnout.answered, turnout.questions) == (8, 24)


def test_a_proxy_sees_the_same_grids_and_fewer_pairs_are_a_part_of_more(store: Store, images: ImageSet) -> None:
    contest = judged(store, images, "anna", pairs=2, controls=0)
    proxy = Judging(panel="proxy", judges=({"name": "colour_texture"},), pairs=5, controls=0)
    (other,) = judging.judge(store, CELLS, images, proxy, folder=store.path.parent / "grids")
    grids = [
        set(judgments.comparisons(store, one.tournament)[["grid_a", "grid_b"]].itertuples(index=False, name=None))
        for one in (contest, other)
    ]
    assert grids[0] < grids[1]
    # Two panels are two columns, told apart by their panels.
    vote(store, contest, "anna")
    judged(store, images, pairs=2, controls=0)
    (board,) = leaderboard(store)
    columns = {column.panel: column.key for column in board.columns if column.metric == "win_rate"}
    assert columns == {"people": "win_rate[people]", "proxy:colour_texture": "win_rate[proxy:colour_texture]"}


def test_people_follow_their_own_protocol_whatever_the_suite_says(store: Store, images: ImageSet) -> None:
    contest = judged(store, images, "anna", protocol="paper", style="outlined")
    assert row_of(store, contest.tournament)["prompt_version"] == "people-1+outlined"
    ballot = read_ballot(store.path.parent, contest.tournament)
    assert "magenta square" in ballot.instruction and "JSON" not in ballot.instruction
    assert Panel("people", ()).protocol == "people"


def test_names_and_options_are_checked() -> None:
    for entries, match in (
        (({"name": "an na"},), "is no name of an annotator"),
        (({"name": "anna", "base_url": "http://x"},), "has a name only; remove base_url"),
        (({"name": "anna"}, {"name": "Anna"}), "named twice"),
    ):
        with pytest.raises(UserError, match=match):
            make_panel("people", Wanted("tiny_vit", entries))
    with pytest.raises(UserError, match="no options; remove speed"):
        make_panel("people", Wanted("tiny_vit", (), {"speed": 1}))
    assert Panel("people", ()).id == "people"
    with pytest.raises(UserError, match="odd number"):
        Panel("proxy", ())


def suite_file(folder: Path, photo_folder: Path) -> Path:
    suite = folder / "own.toml"
    suite.write_text(
        f'name = "own"\n[seeds]\ntokens = [1, 2]\n[data]\ndataset = "folder:{photo_folder}"\nevaluation = 40\n'
        '[[targets]]\nbackbone = "tiny_vit"\n[[methods]]\nname = "identity"\n[[methods]]\nname = "random_split"\n'
    )
    return suite


def test_the_verb_exports_imports_and_prints_the_agreement(tmp_path: Path, photo_folder: Path) -> None:
    from harness.suites import load_suite

    suite = suite_file(tmp_path, photo_folder)
    store = make_store(tmp_path / "r.duckdb", judging.evaluation_images(load_suite(str(suite))))
    common = ["judge", "--suite", str(suite), "--store", str(store.path), "--pairs", "3"]
    runner = CliRunner()
    refused = runner.invoke(app, [*common, "--panel", "people", "--protocol", "paper"])
    assert "follows its own protocol, 'people', and not 'paper'" in str(refused.exception)
    pairs = tmp_path / "pairs.csv"
    done = runner.invoke(app, [*common, "--export", str(pairs)])
    assert done.exit_code == 0, done.output
    assert "Nobody has voted yet" in done.output and "/vote?tournament=" in done.output
    rows = list(csv.DictReader(pairs.open()))
    for row in rows:
        assert (tmp_path / row["image_a"]).is_file() and (tmp_path / row["image_b"]).is_file()
    proxy = runner.invoke(app, [*common, "--panel", "proxy", "--judge", "colour_texture"])
    assert proxy.exit_code == 0, proxy.output
    answers = tmp_path / "answers.csv"
    lines = [f"{row['question']},w{number % 2},{'AB'[number % 2]},2" for number, row in enumerate(rows)]
    answers.write_text("question,annotator,answer,seconds\n" + "\n".join([*lines, "x,w1,A,1"]))
    wrong = runner.invoke(app, [*common, "--panel", "people", "--import", str(answers)])
    assert f"answers.csv, line {len(lines) + 2}: there is no question 'x'" in str(wrong.exception)
    assert not (tmp_path / "people" / "votes").exists()
    answers.write_text("question,annotator,answer,seconds\n" + "\n".join(lines))
    printed = runner.invoke(app, [*common, "--panel", "people", "--import", str(answers)])
    assert printed.exit_code == 0, printed.output
    assert "Votes of people" in printed.output and "kappa is Cohen's" in printed.output
    assert f"{len(rows)} new answers, 0 answered before" in printed.output
    data = json.loads(runner.invoke(app, [*common, "--panel", "people", "--json"]).stdout)
    assert {row["annotator"]: row["answered"] for row in data["people"]} == {
        "w0": (len(rows) + 1) // 2,
        "w1": len(rows) // 2,
    }
    compared = {(row["judge"].split("#")[0], row["other"].split("#")[0]) for row in data["agreement"]}
    assert {("people/w0", "proxy/colour_texture"), ("people/w1", "proxy/colour_texture")} <= compared
    assert data["boards"][0]["rows"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--panel", "proxy", "--export", "x.csv"], "are for people, and the panel is 'proxy'"),
        (["--export", "x.csv", "--dry-run"], "cannot be used with --dry-run or --rescore"),
        (["--absolute-paths"], "about the file of --export"),
        (["--export", "no/such/folder/x.csv"], "There is no folder"),
    ],
)
def test_wrong_options_are_a_sentence(
    tmp_path: Path, photo_folder: Path, recorded: Path, options: list[str], problem: str
) -> None:
    store = shutil.copy(recorded, tmp_path / "r.duckdb")
    suite = suite_file(tmp_path, photo_folder)
    result = CliRunner().invoke(app, ["judge", "--suite", str(suite), "--store", str(store), *options])
    assert isinstance(result.exception, UserError) and problem in str(result.exception)
