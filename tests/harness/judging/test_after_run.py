"""Judging at the end of a run, and what keeps a panel from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import judging
from harness.datasets.base import ImageSet
from harness.progress import Silent
from harness.run import run
from harness.suites import load_suite, parse_suite
from methods.errors import UserError
from results import Store, StoreError, leaderboard, open_store
from results.people.ballot import ballot_ids

pytestmark = pytest.mark.run


def test_a_run_ends_with_judging(tmp_path: Path, photo_folder: Path) -> None:
    suite = parse_suite(
        {
            "name": "judged",
            "data": {"dataset": f"folder:{photo_folder}", "evaluation": 18},
            "evaluation": {"top_images": 9},
            "targets": [{"backbone": "tiny_vit"}],
            "methods": [{"name": "identity"}, {"name": "random_split"}],
            "judging": {"panel": "proxy", "pairs": 5, "judges": [{"name": "colour_texture"}]},
        }
    )
    path = tmp_path / "r.duckdb"
    summary = run(suite, path, device="cpu")
    assert summary.failed == 0
    (board,) = leaderboard(open_store(path), cell_ids=summary.cell_ids)
    assert [row.metrics["win_rate"].n_observations for row in board.rows] == [10, 10]
    # The same run again asks nobody, and the stored choice of cells is the run's own.
    replies = len(open_store(path).query("SELECT * FROM replies"))
    run(suite, path, device="cpu")
    assert len(open_store(path).query("SELECT * FROM replies")) == replies
    images = judging.evaluation_images(suite)
    assert sorted(judging.cells_in_store(open_store(path), suite, images)) == sorted(summary.cell_ids)


def test_a_run_may_end_with_a_ballot_for_people(tmp_path: Path, photo_folder: Path) -> None:
    suite = parse_suite(
        {
            "name": "judged",
            "data": {"dataset": f"folder:{photo_folder}", "evaluation": 18},
            "evaluation": {"top_images": 9},
            "targets": [{"backbone": "tiny_vit"}],
            "methods": [{"name": "identity"}, {"name": "random_split"}],
            "judging": {"panel": "people", "pairs": 2, "controls": 1},
        }
    )
    said: list[str] = []

    class Listening(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    path = tmp_path / "r.duckdb"
    assert run(suite, path, device="cpu", reporter=Listening()).failed == 0
    (name,) = ballot_ids(tmp_path)
    assert f"People can vote on 5 questions: run `harness app` and open /vote?tournament={name}" in said
    assert not any("Not judged" in text or "skipped" in text for text in said)


def test_a_panel_that_cannot_judge_stops_no_run_and_an_unknown_one_does(tmp_path: Path, photo_folder: Path) -> None:
    values = {
        "name": "judged",
        "data": {"dataset": f"folder:{photo_folder}", "evaluation": 18},
        "evaluation": {"top_images": 5},
        "targets": [{"backbone": "tiny_vit"}],
        "methods": [{"name": "identity"}, {"name": "random_split"}],
    }
    summary = run(parse_suite({**values, "judging": {"panel": "proxy"}}), tmp_path / "r.duckdb", device="cpu")
    assert summary.finished == 2 and not summary.interrupted
    with pytest.raises(UserError, match=r"no judge panel 'vlm'. Did you mean vllm"):
        run(parse_suite({**values, "judging": {"panel": "vlm"}}), tmp_path / "s.duckdb", device="cpu")
    assert not (tmp_path / "s.duckdb").exists()


@pytest.mark.parametrize(
    "error", [FileNotFoundError("gone.png"), StoreError("The store is busy."), RuntimeError("boom")]
)
def test_what_keeps_a_panel_from_judging_does_not_make_a_measured_run_fail(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    said: list[str] = []
    shown = Silent()
    shown.say = said.append  # type: ignore[method-assign]
    monkeypatch.setattr("harness.judging.after_run.judge", fails)
    suite = load_suite("demo")
    judging.judge_run(suite, Store(tmp_path / "s.duckdb"), [], ImageSet("none", (), ()), tmp_path, shown)
    assert len(said) == 1 and said[0].startswith("Not judged: ") and str(error) in said[0]
