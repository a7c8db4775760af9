"""Figures of `--scale tiny` are marked as such wherever they are shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from results import CellRecord, ScoreRecord, leaderboard, open_store
from results.boards.build import render_text
from results.boards.by import tables_by
from results.boards.trials import MARK, WARNING
from results.comparison.compare import compare
from results.comparison.text import table
from results.export import exported


def filled(path: Path, suite: str) -> Path:
    store = open_store(path, read_only=False)
    for method in ("elude", "topk_sae"):
        for seed in (1, 2):
            store.record(
                CellRecord(
                    cell_id=f"{method}{seed}",
                    status="finished",
                    suite=suite,
                    backbone="b",
                    site="s",
                    method=method,
                    token_seed=seed,
                ),
                [ScoreRecord(metric="ms_score", value=0.5 + seed / 10, unit="fraction")],
            )
    return path


@pytest.mark.parametrize(
    ("suite", "is_trial"), [("table2-tiny", True), ("table2-tiny-sweep", True), ("demo", False), ("tiny-mine", False)]
)
def test_every_view_of_a_trial_is_marked_and_no_other(tmp_path: Path, suite: str, is_trial: bool) -> None:
    store = open_store(filled(tmp_path / "s.duckdb", suite))
    boards = leaderboard(store)
    assert (boards[0].notes[:1] == (WARNING,)) is is_trial
    texts = [
        render_text(boards[0]).partition("\n")[0],
        *(exported(boards, form).decode() for form in ("markdown", "latex", "html")),
        table(compare(store, "elude", "topk_sae")[0]).title,
    ]
    assert all((MARK in text) is is_trial for text in texts)
    assert (WARNING in tables_by(boards, "method")[0].notes) is is_trial
