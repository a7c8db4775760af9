"""The pages behind the front: leaderboard, method, units, comparisons, judges and runs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("streamlit")

from app_pages import box, opened, require_sound, show, store_in, texts
from app_store import SCRIPT

from results import RunRecord, Store, open_store
from results.app import queries, queries_judging, queries_pairs, queries_units
from results.app.judged_comparison import verdict_text
from results.app.screens.judges import outcome, who_voted
from results.app.titles import plain
from results.store import judgments
from results.store.images import last_position
from results.store.judgments import ReplyRecord, TournamentRecord
from results.store.liveness import alive

pytestmark = pytest.mark.run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_in(tmp_path_factory.mktemp("app"))


@pytest.fixture
def here(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    return show(store, monkeypatch)


def test_the_method_page_has_stability_curves_and_provenance(here: Store) -> None:
    test = opened("method", cell="topk_sae-123")
    require_sound(test)
    written = texts(test)
    assert test.title[0].value == "TopK SAE"
    assert [(metric.label, metric.value, metric.delta) for metric in test.metric][1:] == [
        ("R2", "90.0 %", "88.0 to 91.9 · rank 1–2 of 2"),
        # Four pairs are too few to tell its judges from random answers.
        ("Win rate :orange-badge[proxy panel] :red-badge[at chance]", "25.0 %", "5.00 to 45.0"),
        ("Stability", "42.0 %", "no interval"),
        ("Fit", "1.00 s", "rank 1 of 3"),
    ]
    assert "Stability over seeds" in written and "std over pairs" in written
    assert "Training" in written and "MS scores of the units" in written
    verdicts = test.get("table")[0].value
    assert verdicts.loc["unsupervised", "measured"] == "**yes**"
    assert verdicts.loc["unsupervised", "evidence"] == "labels not read during fit \\(2 of 2 cells\\)"
    # It claims not to be lossless, and nothing was measured that could say so.
    assert verdicts.loc["lossless", ["measured", "claimed"]].tolist() == ["**unknown**", "no"]
    assert "topk_sae-42" in written and "evaluation split evaluation-1" in written


def test_a_method_of_which_every_cell_failed_says_why(here: Store) -> None:
    test = opened("method", cell="broken-42")
    assert [element.message for element in test.exception] == []
    assert "failed. ValueError" in test.error[0].value
    assert "All cells of this method failed" in texts(opened("units", cell="broken-42"))


def test_a_cell_without_a_living_unit_has_no_token_layout(here: Store, tmp_path: Path) -> None:
    path = tmp_path / "dead.duckdb"
    path.write_bytes(here.path.read_bytes())
    with open_store(path, read_only=False).writing() as connection:
        connection.execute("UPDATE units SET alive = false WHERE cell_id = 'mine-42'")
    assert last_position(open_store(path), "mine-42") is None
    assert last_position(here, "mine-42") is not None


def test_missing_image_files_are_said_to_be(here: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARNESS_IMAGES", str(tmp_path))
    test = opened("units", cell="elude-42", unit="5")
    require_sound(test)
    assert "image files are missing" in texts(test) and "--images" in texts(test)


def test_a_seed_is_chosen_within_its_method(here: Store) -> None:
    test = opened("units", cell="elude-123")
    assert box(test, "Seeds").value == "elude-123"
    box(test, "Seeds").set_value("elude-42").run()
    require_sound(test)
    assert box(test, "Seeds").value == "elude-42"
    box(test, "Seeds").set_value("elude-123").run()
    assert box(test, "Seeds").value == "elude-123"
    test.query_params["cell"] = "topk_sae-123"
    test.run()
    require_sound(test)
    assert box(test, "Seeds").value == "topk_sae-123"


def test_judges_shows_replies_as_they_are(here: Store) -> None:
    test = opened("judges", tournament="tournament-1", pair="pair/0", order="1")
    require_sound(test)
    shown = [element.value for element in test.get("text")]
    assert f"A: {SCRIPT}" in shown
    assert "Consensus: 0 : 3, ELUDe" in shown
    assert any("Drawn from the unit's top images" in element.value for element in test.caption)
    assert "no such comparison" in texts(opened("judges", pair="nothing"))


def test_votes_are_counted_as_the_statistics_count_them(here: Store) -> None:
    frame = queries_pairs.judged(here, "tournament-1", limit=50).set_index("pair_id").sort_index()
    votes = ["votes_1", "votes_2", "wins_1", "wins_2", "n_valid", "n_judges"]
    assert frame["cell_1"].tolist() == ["elude-42"] * 4 and frame["unit_2"].tolist() == [3, 4, 5, 6]
    assert frame.loc["pair/0", votes].tolist() == [6, 0, 2, 0, 6, 6]
    assert frame.loc["pair/1", votes].tolist() == [4, 2, 2, 0, 6, 6]
    # Of three judges, two have answered, and they disagree.
    assert frame.loc["pair/3", votes].tolist() == [2, 2, 0, 0, 4, 6]
    for filter_name, count in (("judges disagree", 3), ("judges agree", 1), ("no winner", 1)):
        assert len(queries_pairs.judged(here, "tournament-1", filter_name=filter_name)) == count
    assert len(queries_pairs.judged(here, "tournament-1", filter_name="invalid or missing replies")) == 1
    assert queries_pairs.judged(here, "tournament-1", filter_name="controls (the same grid twice)").empty
    assert queries_pairs.judged(here, "tournament-1", cells_a=["mine-42"]).empty
    assert len(queries_pairs.judged(here, "tournament-1", cells_a=["topk_sae-42"], cells_b=["elude-42"])) == 4
    by_judge = queries_pairs.votes_of(here, "tournament-1", ["pair/1", "pair/3"])
    assert who_voted(by_judge["pair/1"]) == "left: three, two · right: one"
    assert who_voted(by_judge["pair/3"]) == "left: two · right: one · no valid answer: three"
    assert who_voted([{"judge": "openai/m#1", "votes_1": 1, "votes_2": 1}]) == "changed with the order: m"


def test_a_pair_is_decided_by_both_orders() -> None:
    row = {"votes_1": 5, "votes_2": 1, "wins_1": 2, "wins_2": 0, "is_control": False}
    assert outcome(row, "ELUDe", "TopK") == "ELUDe wins, 5 to 1"
    assert outcome({**row, "votes_1": 1, "votes_2": 5, "wins_1": 0, "wins_2": 2}, "a", "b") == "b wins, 5 to 1"
    assert outcome({**row, "wins_1": 1, "wins_2": 1}, "a", "b") == "No winner, 5 to 1: each order has another winner"
    assert outcome({**row, "wins_1": 0}, "a", "b") == "No winner, 5 to 1"
    assert outcome({**row, "is_control": True}, "a", "b") == "Control, the same grid twice: 5 to 1"


@pytest.mark.parametrize(("version", "consensus", "words"), [(1, "A", "1 : 0, first"), (2, None, "1 : 0, undecided")])
def test_one_valid_vote_of_three_decides_by_the_first_version_alone(
    tmp_path: Path, version: int, consensus: str | None, words: str
) -> None:
    small = open_store(tmp_path / "r.duckdb", read_only=False)
    comparison = {
        **{"pair_id": "p", "order": 0, "cell_a": "first", "unit_a": 0, "grid_a": "x"},
        **{"cell_b": "second", "unit_b": 0, "grid_b": "y"},
    }
    record = TournamentRecord(
        tournament="t", panel="p", judges=list("jkl"), prompt_version="1", settings={"version": version}
    )
    judgments.record_tournament(small, record, pd.DataFrame(), pd.DataFrame([comparison]))
    question = {"prompt_version": "1", "grid_a": "x", "grid_b": "y", "attempt": 1, "raw": "text"}
    replies = [ReplyRecord(**question, judge=judge, answer=answer) for judge, answer in (("j", "A"), ("k", None))]
    judgments.record_replies(small, replies)
    row = queries_judging.presentation(small, "t", "p", 0)
    assert row is not None and row["consensus"] == consensus
    assert verdict_text(row, "first", "second") == words
    assert verdict_text({**row, "n_b": 1, "consensus": None}, "first", "second") == "1 : 1, a tie"


def test_judges_shows_both_intervals_and_the_retries(here: Store) -> None:
    test = opened("judges", tournament="tournament-1")
    require_sound(test)
    frames = [frame.value for frame in test.dataframe]
    health, rates = (
        next(frame for frame in frames if name in frame.columns) for name in ("retried (%)", "win rate (%)")
    )
    assert rates["95 % interval"].tolist() == ["55.0 to 95.0", "5.0 to 45.0"]
    assert rates["interval for these units"].tolist() == ["65.0 to 85.0", "15.0 to 35.0"]
    assert rates["units"].tolist() == [4, 4]
    assert health["first invalid (%)"].tolist() == ["25.0"] * 3 and health["retried (%)"].tolist() == ["12.5"] * 3
    assert any("if other units of each method were judged" in element.value for element in test.caption)
    assert test.header[0].value.startswith("The 3 judges cannot be told from random answers")
    written = texts(test)
    assert "-badge[:material/question_mark: unknown]" in written and "proxy panel" in written
    assert written.count(plain("no other judge whose votes could confirm its own")) == 3
    assert "4 pairs, each shown in both orders" in written


def test_the_pairs_of_a_tournament_are_filtered_by_the_address(here: Store) -> None:
    test = opened("judges", tournament="tournament-1", show="judges disagree")
    require_sound(test)
    assert test.query_params["show"] == "judges disagree"
    links = [link.proto.label for link in test.get("page_link")].count("Grids and replies")
    assert links == 3 and "3 pairs, each shown in both orders" in texts(test)
    assert len(test.get("image")) == 6
    require_sound(opened("judges", tournament="tournament-1", show="nothing of this kind"))


def test_runs_shows_the_command_and_why_cells_failed(here: Store) -> None:
    test = opened("runs")
    require_sound(test)
    written = texts(test)
    assert "harness run --suite demo" in written and SCRIPT in written and "Traceback" in written
    headings = [element.value for element in test.header]
    # Failed cells come first, with their command.
    assert headings == ["1 failed cell", "All runs"]
    assert test.code[1].value == "harness run --suite demo" and plain("The store takes") in written


def test_a_run_that_lives_and_one_that_was_killed(here: Store) -> None:
    for run_id in ("living", "killed"):
        here.start_run(RunRecord(run_id=run_id, suite=run_id, n_planned=3))
    log = here.path.parent / "logs" / "living.log"
    log.parent.mkdir()
    log.write_text("2026-01-02 03:04:05 1/3 ELUDe: ms_score 50.00 % [elude-42]; about 9 min left\n")
    with alive(here.path, "living"):
        test = opened("runs")
    require_sound(test)
    assert test.header[0].value == plain("living: cell 2 of 3, about 9 min left")
    assert "ms_score 50.00 %" in texts(test)
    log.unlink()
    log.parent.rmdir()
    labels_of = {name: [run.label for run in test.expander if name in run.label] for name in ("living", "killed")}
    assert [label.endswith(plain("running, 0 of 3 cells")) for label in labels_of["living"]] == [True], labels_of
    assert [label.endswith("killed after 0 of 3 cells") for label in labels_of["killed"]] == [True], labels_of
    assert any("killed" in warning.value for warning in test.warning)
    require_sound(opened("runs"))


def test_equal_units_are_not_multiplied(tmp_path: Path) -> None:
    """A store from anyone can have one unit a million times; a join of them with themselves would not end."""
    store = store_in(tmp_path)
    with Store(store.path, read_only=False).writing() as opened:
        opened.execute("INSERT INTO units SELECT u.* FROM units u, range(20000) WHERE unit = 0")
    units = queries_units.UnitList("elude-42", "identity-42", sort="number")
    page = queries_units.unit_page(store, units, limit=10)
    assert len(page) == 10
    assert queries.unit_by_number(store, "elude-42", 0) is not None
    assert len(queries.siblings(store, "elude-42", 0, 0, limit=4)) <= 5
