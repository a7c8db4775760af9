"""Columns of `harness leaderboard --by`."""

from __future__ import annotations

from pathlib import Path

from command_line import harness
from flagged_board import Cells
from flagged_store import write

from results import open_store


def test_tables_by_method_leave_out_details_like_boards(tmp_path: Path) -> None:
    cells = Cells()
    cells.record("m", [0.5])
    write(open_store(tmp_path / "r.duckdb", read_only=False), cells)
    by = ("leaderboard", "--store", "r.duckdb", "--by", "method")
    short = harness(*by, cwd=tmp_path).stdout
    assert "ms_score (%)" in short and "unit_overlap" not in short
    assert "unit_overlap (%)" in harness(*by, "--all", cwd=tmp_path).stdout
    assert "unit_overlap (%)" in harness(*by, "--sort", "unit_overlap", cwd=tmp_path).stdout
