"""Recorded command of a run, as it can be typed."""

from __future__ import annotations

from pathlib import Path

from results.app.run_command import typed_command


def test_the_command_that_goes_on_names_the_store_in_full() -> None:
    path = Path("/somewhere/with space/results.duckdb")
    whole = "harness run --suite demo --store '/somewhere/with space/results.duckdb'"
    assert typed_command("harness run --suite demo --store results.duckdb", path) == whole
    assert (
        typed_command("harness run --store=results.duckdb", path)
        == "harness run '--store=/somewhere/with space/results.duckdb'"
    )
    for other in ("harness run --suite demo", "harness run --store other.duckdb", "harness run 'open"):
        assert typed_command(other, path) == other
    # What sys.argv is under `python -m harness`.
    assert typed_command("__main__.py run --suite demo", path) == "python -m harness run --suite demo"
    assert typed_command("harness run --store results.duckdb") == "harness run --store results.duckdb"
