"""Votes on one tournament in the stores of two machines, merged."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from judging_store import make_store, pictures
from people_store import AT, judge_id, judged, row_of, vote
from typer.testing import CliRunner

from harness.cli import app
from harness.commands.rescoring import rescored
from harness.datasets.base import ImageSet
from results import Store, open_store
from results.errors import StoreError
from results.people.votes import Vote, append_votes, read_votes
from results.site.sources import opened
from results.store import judgments
from results.verify import verify

pytestmark = pytest.mark.run


@pytest.fixture(scope="module")
def images(photo_folder: Path) -> ImageSet:
    return pictures(photo_folder)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, images: ImageSet) -> Path:
    return make_store(tmp_path_factory.mktemp("recorded") / "r.duckdb", images).path


def machine(recorded: Path, folder: Path) -> Store:
    folder.mkdir()
    return open_store(shutil.copy(recorded, folder / "r.duckdb"), read_only=False)


def merged(out: Path, *stores: Store) -> Store:
    done = CliRunner().invoke(app, ["merge", str(out), *(str(store.path) for store in stores), "--overwrite"])
    assert done.exit_code == 0, done.output + str(done.exception)
    assert "win rates" not in done.output
    return open_store(out)


def rates_of(store: Store) -> pd.DataFrame:
    return judgments.win_rates(store).drop(columns="judged_at")


def test_a_merge_is_scored_as_if_all_had_voted_on_one_machine(recorded: Path, tmp_path: Path, images: ImageSet) -> None:
    one, two, all_here = (machine(recorded, tmp_path / name) for name in ("one", "two", "all"))
    contests = [judged(store, images, "anna") for store in (one, two, all_here)]
    tournament = contests[0].tournament
    assert {contest.tournament for contest in contests} == {tournament}
    for store, contest, names in zip((one, two, all_here), contests, (["anna"], ["ben"], ["anna", "ben"]), strict=True):
        for name in names:
            vote(store, contest, name, 20, invert=name == "ben")
    # On the second machine Anna has changed her mind later, and Ben has taken a vote back.
    later = AT + timedelta(hours=1)
    changed = [Vote(cast.question, "tie", 1.0, later) for cast in read_votes(one.path.parent, "anna").votes[:4]]
    undone = [Vote(cast.question, "undo", None, later) for cast in read_votes(two.path.parent, "ben").votes[:2]]
    for store in (two, all_here):
        append_votes(store.path.parent, "anna", changed)
        append_votes(store.path.parent, "ben", undone)
    for store in (one, two, all_here):
        judged(store, images)
    for order in ((one, two), (two, one)):
        both = merged(tmp_path / "out" / "r.duckdb", *order)
        pd.testing.assert_frame_equal(rates_of(both), rates_of(all_here))
        row, expected = row_of(both, tournament), row_of(all_here, tournament)
        assert row["judges"] == expected["judges"] == sorted(map(judge_id, ("anna", "ben")))
        for name in ("n_missing", "n_ties", "n_comparisons", "health", "pairwise", "n_shared"):
            assert row[name] == expected[name], name
        assert [problem for problem in verify(both).problems if problem.check != "unit scores"] == []
        shutil.rmtree(tmp_path / "out" / "people", ignore_errors=False)
    # What was added beside the new store gives the same again.
    both = open_store(merged(tmp_path / "out" / "r.duckdb", one, two).path, read_only=False)
    judged(both, images)
    pd.testing.assert_frame_equal(rates_of(both), rates_of(all_here))


def test_scoring_again_adds_whoever_has_replied(recorded: Path, tmp_path: Path, images: ImageSet) -> None:
    store = machine(recorded, tmp_path / "one")
    contest = judged(store, images, "anna")
    vote(store, contest, "anna")
    judged(store, images)
    judgments.record_judges(store, contest.tournament, [])
    done = CliRunner().invoke(app, ["judge", "--suite", "demo", "--store", str(store.path), "--rescore"])
    assert done.exit_code == 0, done.output
    row = row_of(store, contest.tournament)
    assert row["judges"] == [judge_id("anna")] and row["n_missing"] == 0


def test_a_tournament_of_one_store_is_scored_again_if_a_reply_changed_in_another(
    recorded: Path, tmp_path: Path, images: ImageSet
) -> None:
    """The second store has the same questions in a larger tournament, and Anna has changed her mind there."""
    one, two = (machine(recorded, tmp_path / name) for name in ("one", "two"))
    small = judged(one, images, "anna", pairs=1)
    vote(one, small, "anna")
    judged(one, images, pairs=1)
    large = judged(two, images, "anna", pairs=2)
    vote(two, large, "anna", at=AT + timedelta(hours=1), invert=True)
    judged(two, images, pairs=2)
    both = merged(tmp_path / "out" / "r.duckdb", one, two)
    rates = judgments.win_rates(both).set_index(["tournament", "label"])["win_rate"]
    assert rates[small.tournament, "pure"] == rates[large.tournament, "pure"] == 0.0
    assert [problem for problem in verify(both).problems if problem.check != "unit scores"] == []


def test_a_site_of_two_stores_scores_the_votes_of_both(recorded: Path, tmp_path: Path, images: ImageSet) -> None:
    one, two = (machine(recorded, tmp_path / name) for name in ("one", "two"))
    vote(one, judged(one, images, "anna"), "anna")
    judged(one, images)
    judged(two, images)
    paths = [one.path, two.path]
    with pytest.raises(StoreError, match="have votes of people"), opened(paths):
        pass
    with opened(paths, rescore=rescored) as sources:
        pd.testing.assert_frame_equal(rates_of(sources.store), rates_of(one))


def test_no_votes_are_added_if_a_merge_fails(recorded: Path, tmp_path: Path, images: ImageSet) -> None:
    one, two = (machine(recorded, tmp_path / name) for name in ("one", "two"))
    vote(two, judged(two, images, "ben"), "ben")
    judged(two, images)
    with two.writing() as connection:
        connection.execute("UPDATE cells SET artifact = '../secret'")
    out = tmp_path / "out" / "r.duckdb"
    done = CliRunner().invoke(app, ["merge", str(out), str(two.path), str(one.path), "--artifacts"])
    assert "nothing was written" in str(done.exception)
    assert not out.exists() and not (out.parent / "people").exists()
