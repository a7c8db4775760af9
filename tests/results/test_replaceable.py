"""Files that a command may replace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from results.errors import StoreError
from results.people.crowd import require_export_path
from results.replaceable import require_replaceable
from results.store import open_store


def test_what_cannot_be_made_again_is_not_replaced(tmp_path: Path) -> None:
    store = tmp_path / "results.duckdb"
    open_store(store, read_only=False)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = tmp_path / "pairs.csv"
    text.write_text("old", encoding="utf-8")
    for path, words in ((store, "is a results store"), (pipe, "device or a pipe"), (tmp_path, "is a folder")):
        with pytest.raises(StoreError, match=words):
            require_replaceable(path)
    assert require_replaceable(text) == text and require_replaceable(tmp_path / "new.csv") == tmp_path / "new.csv"


@pytest.mark.parametrize("inside", ["people/votes/anna.jsonl", "grids/ab/x.jpg", "people/../people/pairs.csv"])
def test_questions_are_not_written_among_votes_and_grids(tmp_path: Path, inside: str) -> None:
    with pytest.raises(StoreError, match=r"in the folder (people|grids)/ of the store"):
        require_export_path(tmp_path, tmp_path / inside)
    require_export_path(tmp_path, tmp_path / "pairs.csv")
