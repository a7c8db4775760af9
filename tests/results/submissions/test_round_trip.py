"""From a store to a folder and back: the same boards, and the same values to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from results import Store, open_store
from results.boards.build import board_frame
from results.comparison.leaderboard import leaderboard
from results.export import csv_text
from results.submissions.choose import Wanted
from results.submissions.files import listing
from results.submissions.rebuild import rebuilt
from results.submissions.submit import submit

#: Table -> columns that a submission leaves out: files that do not go with it, and how a run went on.
LEFT_OUT = {"cells": ("artifact",), "runs": ("ended_at", "n_planned")}
TABLES = (
    *("runs", "cells", "scores", "units", "unit_maps", "outcomes", "images"),
    *("tournaments", "win_rates", "comparisons", "replies", "group_scores"),
)


@pytest.fixture(scope="module")
def rebuilt_store(repository: Path) -> Iterator[Store]:
    with rebuilt(repository) as path:
        yield open_store(path)


def test_boards_are_the_same_to_the_bit(submitted_store: Store, rebuilt_store: Store) -> None:
    # Without the failed cell, which has no suite.
    before, after = leaderboard(submitted_store, suite="demo"), leaderboard(rebuilt_store, suite="demo")
    assert before == after
    assert repr(before) == repr(after)
    assert [csv_text(board_frame(board)) for board in before] == [csv_text(board_frame(board)) for board in after]


@pytest.mark.parametrize("table", TABLES)
def test_every_value_is_the_same(submitted_store: Store, rebuilt_store: Store, table: str) -> None:
    """NULL and NaN stay apart, and times keep their microseconds."""
    where = "WHERE status = 'finished'" if table == "cells" else ""
    columns = f"* EXCLUDE ({', '.join(LEFT_OUT[table])})" if table in LEFT_OUT else "*"
    sql = f"SELECT {columns} FROM {table} {where} ORDER BY ALL"
    before, after = submitted_store.query(sql), rebuilt_store.query(sql)
    assert len(before) == len(after) > 0
    for name in before:
        assert before[name].dtype == after[name].dtype
        assert [repr(value) for value in before[name]] == [repr(value) for value in after[name]], name


def test_a_second_submission_changes_no_byte(submitted_store: Store, copied: Path) -> None:
    before = contents(copied)
    result = submit(submitted_store.path, copied, note="Another note.", program="harness 1")
    assert result.written == result.replaced == []
    assert len(result.unchanged) == 11
    assert contents(copied) == before


def test_a_submission_of_the_rebuilt_store_changes_no_byte(copied: Path) -> None:
    """Curves are thinned once."""
    before = contents(copied)
    with rebuilt(copied) as path:
        result = submit(path, copied)
    assert result.written == result.replaced == []
    assert contents(copied) == before


def test_a_part_of_a_store_is_submitted_in_two_steps(submitted_store: Store, repository: Path, tmp_path: Path) -> None:
    first = submit(submitted_store.path, tmp_path, Wanted(methods=["topk_sae"]), note="A note.", program="harness 0")
    assert len(first.written) == 4  # two cells, their group, the images
    (note,) = [note for note in first.notes if "tournament" in note]
    assert note == ("1 tournament is left out, with the win rates: only a part of the judged cells is submitted.")
    second = submit(submitted_store.path, tmp_path, note="A note.", program="harness 0")
    assert len(second.written) == 7 and len(second.unchanged) == 4
    assert contents(tmp_path) == contents(repository)


def contents(folder: Path) -> dict[str, bytes]:
    """Return path -> content of all files."""
    return {str(path): (folder / path).read_bytes() for path in listing(folder).files}
