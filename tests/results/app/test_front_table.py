"""Values behind the front as CSV: in full, without ends where there is no interval."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("streamlit")

import flagged_store

from results.app.front_table import csv
from results.app.standings import points
from results.comparison.leaderboard import leaderboard
from results.comparison.row_errors import RowErrors


def test_a_row_has_its_values_in_full_and_only_the_ends_that_it_has(tmp_path: Path) -> None:
    store = flagged_store.make_store(tmp_path / "r.duckdb")
    (board,) = leaderboard(store)
    x, y = (next(c for c in board.columns if c.metric == metric) for metric in ("r2", "ms_score"))
    measured = points(board.rows, x, y, RowErrors(store, board))
    frame = pd.read_csv(io.StringIO(csv(measured, x, y))).set_index("method")
    assert len(frame) == len(measured)
    good, single = frame.loc["good"], frame.loc["single"]
    assert good["ms_score (%) 95 % low"] < good["ms_score (%)"] < good["ms_score (%) 95 % high"]
    # One seed is no exact value, so it has no ends, no share, and is neither on the front nor off it.
    assert single[["ms_score (%) 95 % low", "r2 (%) 95 % high", "on_front", "front_share"]].isna().all()
    assert single["flags"] == "one seed" and single["ms_score (%)"] == pytest.approx(85.0, abs=0.5)
