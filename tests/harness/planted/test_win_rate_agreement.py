"""Agreement of the MS score with the win rate: the interval, and boards of a store."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from typer.testing import CliRunner

from harness.cli import app
from harness.planted.win_rate_agreement import agreements, spearman
from results import CellRecord, RunRecord, ScoreRecord, Store, open_store
from results.store import judgments
from results.store.judgments import TournamentRecord

STARTED = datetime(2026, 1, 2, tzinfo=UTC)
MS = {"a": 0.5, "b": 0.6, "c": 0.7, "d": 0.8, "e": 0.9}


class TestSpearman:
    def test_value_and_interval(self) -> None:
        x, y = np.array([1.0, 2, 3, 4, 5, 6, 7]), np.array([2.0, 1, 3, 5, 4, 7, 6])
        estimate = spearman(x, y)
        rho = spearmanr(x, y).statistic
        half = 1.959964 * math.sqrt((1 + rho**2 / 2) / 4)
        assert estimate == pytest.approx((rho, math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)))

    def test_undefined(self) -> None:
        x = np.arange(5.0)
        assert math.isnan(spearman(x[:3], x[:3]).value) and math.isnan(spearman(x, np.ones(5)).value)
        perfect = spearman(x, x)
        assert perfect.value == pytest.approx(1) and math.isnan(perfect.low)

    @pytest.mark.parametrize("correlation", [0.0, 0.5])
    def test_covers_as_often_as_it_says_for_nine_rows(self, correlation: float) -> None:
        """600 draws of normal pairs: the standard error of the coverage is .9 points."""
        generator = np.random.default_rng(0)
        truth = 6 / math.pi * math.asin(correlation / 2)
        hits = 0
        for _ in range(600):
            x = generator.normal(size=9)
            y = correlation * x + math.sqrt(1 - correlation**2) * generator.normal(size=9)
            estimate = spearman(x, y)
            # A correlation of 1 has no interval.
            hits += math.isnan(estimate.low) or estimate.low <= truth <= estimate.high
        assert hits / 600 >= 0.93


def record(store: Store, scores: dict[str, float], version: int = 1, prefix: str = "") -> None:
    """Record one cell per method, whose MS score is given."""
    for number, (label, value) in enumerate(scores.items()):
        cell = CellRecord(
            cell_id=f"{prefix}{label}",
            status="finished",
            run_id="run",
            backbone="vit",
            site="fc2",
            evaluation_fingerprint="images",
            probing_fingerprint="probing",
            method=label,
            label=label,
            config={},
            identity={},
            started_at=STARTED + timedelta(seconds=number),
        )
        metrics = [
            ScoreRecord(metric=metric, version=version, value=value, n=1, direction="higher")
            for metric in ("ms_score", "ms_score_adjusted")
        ]
        store.record(cell, metrics)


def judge(store: Store, rates: dict[str, float], tournament: str, panel: str = "panel", prefix: str = "") -> None:
    rows = [
        {
            **dict.fromkeys(judgments.WIN_RATE_COLUMNS),
            "config_id": label,
            "label": label,
            "cell_ids": [f"{prefix}{label}"],
            "win_rate": rate,
        }
        for label, rate in rates.items()
    ]
    made = TournamentRecord(
        tournament=tournament,
        panel=panel,
        judges=["one"],
        prompt_version="1",
        settings={},
        judged_at=STARTED + timedelta(days=len(tournament)),
        n_comparisons=10,
        n_ties=0,
        n_missing=0,
        agreement=0.5,
    )
    judgments.record_tournament(store, made, pd.DataFrame(rows))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = open_store(tmp_path / "r.duckdb", read_only=False)
    made.start_run(RunRecord(run_id="run", suite="s", command="run", started_at=STARTED, n_planned=5))
    record(made, MS)
    return made


class TestBoards:
    def test_the_last_tournament_of_a_layer_counts(self, store: Store) -> None:
        judge(store, {label: 1 - value for label, value in MS.items()}, "t")
        assert agreements(store)[0].correlations["ms_score"].value == pytest.approx(-1)
        judge(store, {"a": 0.2, "b": 0.1, "c": 0.3, "d": 0.5, "e": 0.4}, "later")
        (board,) = agreements(store)
        assert (board.backbone, board.site, board.panel, len(board.rows)) == ("vit", "fc2", "panel", 5)
        assert board.correlations["ms_score"].value == pytest.approx(0.8)
        assert agreements(store, "another") == [] and agreements(store, "vit") == [board]

    def test_rows_without_win_rate_or_score_are_left_out(self, store: Store) -> None:
        judge(store, {"a": 0.2, "b": 0.3, "c": math.nan, "d": 0.5, "e": 0.4, "not measured": 0.9}, "t")
        assert [row["label"] for row in agreements(store)[0].rows] == ["a", "b", "d", "e"]
        judge(store, {"a": 0.2, "b": 0.3, "c": 0.5}, "other panel", "few")
        assert len(agreements(store)) == 1, "three rows have no interval"

    def test_a_score_that_the_rows_lack_leaves_the_others(self, store: Store) -> None:
        """Cells of an older store have no ``ms_score_token_adjusted``."""
        judge(store, {"a": 0.1, "b": 0.3, "c": 0.2, "d": 0.5, "e": 0.4}, "t")
        (board,) = agreements(store)
        assert board.correlations["ms_score"].value == pytest.approx(0.8)
        assert math.isnan(board.correlations["ms_score_token_adjusted"].value)
        assert [row["ms_score_token_adjusted"] for row in board.rows] == [None] * 5

    def test_versions_of_the_score_are_not_mixed(self, store: Store) -> None:
        record(store, {"f": 0.1, "g": 0.2}, version=2)
        judge(store, {"a": 0.2, "b": 0.3, "c": 0.5, "d": 0.5, "f": 0.4, "g": 0.1}, "t")
        assert agreements(store) == []

    def test_the_command_prints_the_section(self, store: Store, tmp_path: Path) -> None:
        judge(store, {"a": 0.2, "b": 0.1, "c": 0.3, "d": 0.5, "e": 0.4}, "t")
        done = CliRunner().invoke(app, ["validity", "--store", str(tmp_path / "r.duckdb")], env={"COLUMNS": "160"})
        assert "MS score and win rate" in done.output and "+0.80 [" in done.output
        done = CliRunner().invoke(app, ["validity", "--store", str(tmp_path / "r.duckdb"), "--json"])
        (board,) = json.loads(done.output)["win_rate_agreement"]
        assert board["rank_correlations"]["ms_score"]["value"] == pytest.approx(0.8) and len(board["rows"]) == 5
