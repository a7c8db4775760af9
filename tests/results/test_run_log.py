"""Log files beside a store, named by ids that anybody may have written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from results.run_log import log_file, tail


def test_the_file_lies_beside_the_store() -> None:
    assert log_file(Path("/a/results.duckdb"), "20260102T030405-abcdef") == Path("/a/logs/20260102T030405-abcdef.log")


@pytest.mark.parametrize("run_id", ["", "..", "../x", "a/b", "a\\b", "a\0b", "a\nb", ".hidden", "x" * 101, "ä"])
def test_an_id_that_is_no_file_name_has_no_log(run_id: str) -> None:
    assert log_file(Path("/a/results.duckdb"), run_id) is None


def test_the_last_lines_are_read_from_the_end_of_a_long_file(tmp_path: Path) -> None:
    file = tmp_path / "x.log"
    file.write_text("".join(f"line {number}\n" for number in range(100_000)))
    assert tail(file, 2) == ["line 99998", "line 99999"]
    assert len(tail(file, 10**9)) < 10_000
    file.write_bytes(b"\xff\xfe one\ntwo")
    assert tail(file, 5)[-1] == "two"


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "x.log").write_text("secret")
    (tmp_path / "logs").symlink_to(tmp_path / "private")
    (tmp_path / "y.log").symlink_to(tmp_path / "private" / "x.log")
    assert tail(tmp_path / "logs" / "x.log", 3) == tail(tmp_path / "y.log", 3) == []


def test_files_that_are_missing_or_special_have_no_lines(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert tail(tmp_path / "none", 3) == tail(tmp_path, 3) == tail(tmp_path / "pipe", 3) == []
