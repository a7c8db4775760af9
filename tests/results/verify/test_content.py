"""`harness verify` on values that DuckDB accepts and no run writes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hostile_stores import Mutation, hostile_store

from results import CellRecord, RunRecord, ScoreRecord, open_store
from results.verify import verify


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = open_store(tmp_path_factory.mktemp("content") / "results.duckdb", read_only=False)
    store.start_run(RunRecord(run_id="run", started_at=datetime(2026, 1, 2, tzinfo=UTC)))
    cell = CellRecord(cell_id="a", status="finished", backbone="b", site="s", method="elude", run_id="run")
    store.record(cell, [ScoreRecord(metric="r2", value=1.0)])
    return store.path


def test_nothing_is_found_in_a_right_store(source: Path) -> None:
    assert verify(open_store(source)).problems == []


@pytest.mark.parametrize(
    ("assignment", "where"),
    [
        ("cells SET identity = '[]'", "cells.identity"),
        ("cells SET config = '3'", "cells.config"),
        ("cells SET notes = '[1]'", "cells.notes"),
        ("cells SET claims = repeat('[', 100000) || repeat(']', 100000)", "cells.claims"),
        ("scores SET params = '[]'", "scores.params"),
        ("cells SET label = ''", "cells.label"),
        ("cells SET label = repeat('x', 5000000)", "cells.label"),
        ("cells SET label = 'a' || chr(8238) || 'b'", "cells.label"),
        ("cells SET site = E'a\\x1b[2J'", "cells.site"),
        ("cells SET started_at = 'infinity'", "cells.started_at"),
        ("runs SET started_at = '290000-01-01'", "runs.started_at"),
        ("cells SET seconds = '-Infinity'", "cells.seconds"),
        ("cells SET n_units = -5", "cells.n_units"),
        ("scores SET version = 0", "scores.version"),
    ],
)
def test_each_of_these_is_found(source: Path, tmp_path: Path, assignment: str, where: str) -> None:
    path = hostile_store(source, tmp_path / "results.duckdb", Mutation("", [f"UPDATE {assignment}"]))
    assert where in {problem.where for problem in verify(open_store(path)).problems if problem.check == "content"}
