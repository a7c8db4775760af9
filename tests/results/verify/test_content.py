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
    "assignments",
    [
        {
            "cells.identity": "'[]'",
            "cells.config": "'3'",
            "cells.notes": "'[1]'",
            "cells.claims": "repeat('[', 100000) || repeat(']', 100000)",
            "cells.label": "''",
            "cells.site": "E'a\\x1b[2J'",
            "cells.started_at": "'infinity'",
            "cells.seconds": "'-Infinity'",
            "cells.n_units": "-5",
            "scores.params": "'[]'",
            "scores.version": "0",
            "runs.started_at": "'290000-01-01'",
        },
        {"cells.label": "repeat('x', 5000000)", "cells.backbone": "'a' || chr(8238) || 'b'"},
    ],
)
def test_each_of_these_is_found(source: Path, tmp_path: Path, assignments: dict[str, str]) -> None:
    statements = [f"UPDATE {name.replace('.', ' SET ')} = {value}" for name, value in assignments.items()]
    path = hostile_store(source, tmp_path / "results.duckdb", Mutation("", statements))
    problems = [problem for problem in verify(open_store(path)).problems if problem.check == "content"]
    assert {problem.where for problem in problems} == set(assignments)
    assert all(len(problem.why) < 300 for problem in problems)
