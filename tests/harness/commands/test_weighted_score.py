"""`harness leaderboard --weights` and `harness export --weights`: the same scores as text, JSON and files."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from command_line import harness
from flagged_board import flagged_cells
from flagged_store import write

from results import open_store

WEIGHTS = ("--weights", "ms_score=1,r2=1", "--store", "r.duckdb")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    write(open_store(folder / "r.duckdb", read_only=False), flagged_cells())
    return folder


def test_the_table_has_scores_shares_and_what_is_missing(folder: Path) -> None:
    text = harness("leaderboard", *WEIGHTS, cwd=folder).stdout
    good = next(line for line in text.splitlines() if " good " in line)
    # MS score .61 and R2 .7; "exact" has .583 and 1.
    assert "65.5" in good and "79.2" in next(line for line in text.splitlines() if " exact " in line)
    assert "weighted score (ms_score 50 %, r2 50 %)" in text
    assert "note: Without a score (no r2): ghost." in text
    # .61 t + .7 (1 - t) = .583 t + 1 - t at t = .9184, the least change of .4184.
    assert "good becomes first if 42 % of the weight moves" in text
    assert "one seed: single" in text and "scale of r2: 0 at 0 %, 100 at 100 %" in text


def test_json_has_the_same_scores_and_files_too(folder: Path) -> None:
    (printed,) = json.loads(harness("leaderboard", *WEIGHTS, "--json", cwd=folder).stdout)
    rows = {row["title"]: row for row in printed["rows"]}
    assert rows["good"]["score"] == pytest.approx(65.5) and rows["good"]["flags"] == []
    assert rows["ghost"]["score"] is None and rows["ghost"]["missing"] == ["r2"]
    assert rows["copies"]["score"] is not None and rows["copies"]["rank_low"] is None
    assert rows["good"]["first_in_weights"] == pytest.approx(1 - 0.3 / (0.3 + 0.61 - 1.75 / 3))
    assert printed["weights"] == {"ms_score": 0.5, "r2": 0.5} and printed["nearest"]["title"] == "good"
    harness("export", "s.json", *WEIGHTS, cwd=folder)
    assert json.loads((folder / "s.json").read_text()) == [printed]
    harness("export", "s.csv", *WEIGHTS, cwd=folder)
    frame = pd.read_csv(folder / "s.csv").set_index("title")
    for title, row in rows.items():
        for name in ("score", "low", "high", "first_in_draws", "first_in_weights", "change_to_be_first"):
            expected = float("nan") if row[name] is None else row[name]
            assert frame.loc[title, name] == pytest.approx(expected, nan_ok=True), (title, name)
    harness("export", "s.parquet", *WEIGHTS, cwd=folder)
    assert pd.read_parquet(folder / "s.parquet")["rank_low"].isna().sum() == frame["rank_low"].isna().sum()
    for name, start in (("s.html", "<!DOCTYPE html>"), ("s.md", "### "), ("s.tex", "\\begingroup")):
        harness("export", name, *WEIGHTS, cwd=folder)
        assert (folder / name).read_text().startswith(start) and "good" in (folder / name).read_text()


def test_a_dimension_may_have_a_weight(folder: Path) -> None:
    weights = ("--weights", "interpretability=1,faithfulness=1")
    (printed,) = json.loads(harness("leaderboard", *weights, "--json", "--store", "r.duckdb", cwd=folder).stdout)
    assert {name: scale["metric"] for name, scale in printed["scales"].items()} == {
        "interpretability": "ms_score",
        "faithfulness": "r2",
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("leaderboard", "--weights", "ms_scor=1"), "'ms_scor' has no reference scale"),
        (("leaderboard", "--weights", "r2=0"), "All weights are 0"),
        (("leaderboard", "--weights", "kl=1"), "No board here has 'kl', which has a weight"),
        (("leaderboard", "--weights", "balanced"), "No board here has 'cost', which has a weight"),
        (("leaderboard", "--weights", "r2=1", "--by", "method"), "leave out --by, --sort and --all"),
        (("leaderboard", "--weights", "r2=1", "--sort", "r2"), "leave out --by, --sort and --all"),
        (("export", "a.csv", "--weights", "r2=1", "--metric", "r2"), "leave out --what, --metric, --x and --y"),
        (("export", "a.csv", "--weights", "r2=1", "--what", "cells"), "leave out --what"),
        (("export", "a.xyz", "--weights", "r2=1"), "is not an export format"),
        (("export", "-", "--weights", "r2=1", "--format", "parquet"), "Parquet cannot be printed"),
        (("export", "a.png", "--weights", "r2=1", "--figure", "front"), "--weights: no option of --figure front"),
    ],
)
def test_wrong_requests_are_one_sentence(folder: Path, arguments: tuple[str, ...], sentence: str) -> None:
    done = harness(*arguments, "--store", "r.duckdb", cwd=folder, code=2)
    assert sentence in done.stderr and len(done.stderr.strip().splitlines()) == 1 and not done.stdout
    assert not (folder / arguments[1]).exists()


def test_an_empty_board_says_so(tmp_path: Path) -> None:
    open_store(tmp_path / "e.duckdb", read_only=False).runs()
    done = harness("leaderboard", "--weights", "r2=1", "--store", "e.duckdb", cwd=tmp_path)
    assert "No cell in this store matches" in done.stdout
