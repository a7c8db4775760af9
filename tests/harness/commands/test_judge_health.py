"""Table of the judges' health after ``harness judge``: a store from anyone may lack parts of it."""

from __future__ import annotations

from pathlib import Path

from app_store import make_store

from harness.commands.judge import _health
from results import Store


def test_entries_that_lack_their_judge(tmp_path: Path) -> None:
    path = make_store(tmp_path / "results.duckdb").path
    with Store(path, read_only=False).writing() as opened:
        opened.execute('UPDATE tournaments SET health = \'[{"n": 3}, {"judge": "one"}, {"invalid_rate": 0.5}]\'')
    rows = _health(Store(path), ["tournament-1"])
    assert [(row["judge"], row["answers"], row["invalid"]) for row in rows] == [
        (None, 3, None),
        ("one", None, None),
        (None, None, 0.5),
    ]
