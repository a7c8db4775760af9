"""Verbs tell of results that wait beside a store, include them in a merge, and take them in."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.commands.output import take_in_waiting
from results import CellRecord, open_store
from results.store.cell_rows import CellRows
from results.store.spool import spool, spooled

pytestmark = pytest.mark.run


def test_waiting_results_are_announced_merged_and_taken_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_store(tmp_path / "r.duckdb", read_only=False)
    for cell_id in ("a1", "b1"):
        record = CellRecord(cell_id=cell_id, status="failed", backbone="b", site="s", method="identity", run_id="r")
        spool(store.path, CellRows.of(record))
    for verb in ("leaderboard", "verify"):
        told = CliRunner().invoke(app, [verb, "--store", str(store.path), "--json"])
        assert "2 finished results wait in" in told.stderr and "wait" not in told.stdout
    merged = CliRunner().invoke(app, ["merge", str(tmp_path / "all.duckdb"), str(store.path)])
    assert merged.exit_code == 0 and "2 results that waited beside the inputs are included" in merged.stdout
    assert len(open_store(tmp_path / "all.duckdb").statuses()) == 2 and len(spooled(store.path)) == 2
    take_in_waiting(store)
    assert "2 results that waited beside the store were recorded." in capsys.readouterr().err
    assert len(store.statuses()) == 2 and not spooled(store.path)
