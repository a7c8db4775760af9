"""`harness submit`, `harness verify --strict` and `harness merge` of a folder, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import harness
from submission_store import document_of, make_store


@pytest.fixture(scope="module")
def source_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a store and, in `board/`, its submission."""
    folder = tmp_path_factory.mktemp("submit")
    make_store(folder / "r.duckdb")
    done = harness("submit", "r.duckdb", "--to", "board", "--note", "Three lines.", cwd=folder)
    assert "11 results written in board/results" in done.stdout
    assert "ok    board/results: 37 files, 8 cells, 1 scores of groups, 1 image sets, 1 tournaments" in done.stdout
    assert "note  Failed cells are left out: 1." in done.stdout
    return folder


def test_a_folder_is_verified_and_merged_to_the_same_board(source_dir: Path) -> None:
    assert harness("verify", "--strict", "board", cwd=source_dir).stdout.startswith("ok    board: 37 files, 8 cells")
    merged = harness("merge", "back.duckdb", "board", cwd=source_dir)
    assert "8 cells, 0 of them in several stores" in merged.stdout
    boards = [
        harness("leaderboard", "--suite", "demo", "--json", "--store", store, cwd=source_dir).stdout
        for store in ("r.duckdb", "back.duckdb")
    ]
    assert boards[0] == boards[1] and "ELUDe" in boards[0]
    again = harness("submit", "r.duckdb", "--to", "board", cwd=source_dir)
    assert "11 results unchanged in board/results" in again.stdout
    both = harness("merge", "both.duckdb", "board", "r.duckdb", cwd=source_dir)
    assert "9 cells, 8 of them in several stores" in both.stdout


def test_the_report_is_json(source_dir: Path) -> None:
    verdict = json.loads(harness("verify", "--strict", "board", "--json", cwd=source_dir).stdout)
    assert verdict["problems"] == [] and verdict["counts"]["cell"] == 8
    assert {"file", "field", "why"} == set(verdict["warnings"][0])
    submitted = json.loads(harness("submit", "r.duckdb", "--to", "board", "--json", cwd=source_dir).stdout)
    assert submitted["written"] == [] and len(submitted["unchanged"]) == 11
    assert submitted["verdict"]["problems"] == []


def test_problems_are_exit_code_1(source_dir: Path, tmp_path: Path) -> None:
    harness("submit", str(source_dir / "r.duckdb"), "--to", "board", "--methods", "elude", cwd=tmp_path, code=1)
    path = document_of(tmp_path / "board")
    path.write_text(path.read_text(encoding="utf-8").replace('"n_units": 8', '"n_units": "\\u001b[2J"'), "utf-8")
    done = harness("verify", "--strict", "board", cwd=tmp_path, code=1)
    assert done.stdout.startswith("FAIL  board: ")
    assert f"elude/{path.name}: cell.n_units is \\x1b[2J; it must be a whole number from 0" in done.stdout
    assert "\x1b" not in done.stdout
    report = json.loads(harness("verify", "--strict", "board", "--json", cwd=tmp_path, code=1).stdout)
    assert any(problem["field"] == "cell.n_units" for problem in report["problems"])
    refused = harness("merge", "x.duckdb", "board", cwd=tmp_path, code=2)
    assert "cannot be read" in refused.stderr and "harness verify --strict" in refused.stderr
    assert not (tmp_path / "x.duckdb").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["submit", "none.duckdb", "--to", "x"], "no results store at"),
        (["submit", "r.duckdb"], "Missing option"),
        (["submit", "r.duckdb", "--to", "new", "--methods", "nmf"], "no cell has it"),
        (["verify", "--strict", "none"], "There is no folder none"),
        (["verify", "--strict", "."], "There is no folder results; `harness submit STORE --to .` writes one"),
        (["merge", "x.duckdb", "."], "There is no folder"),
        (["merge", "x.duckdb", "r.duckdb"], "two or more different stores"),
        (["submit", "r.duckdb", "--to", "r.duckdb"], "r.duckdb"),
    ],
)
def test_wrong_inputs_are_one_sentence(source_dir: Path, arguments: list[str], words: str) -> None:
    done = harness(*arguments, cwd=source_dir, code=2)
    assert words in " ".join(done.stderr.split()).replace("│ ", "")


def test_a_conflict_names_the_folder(source_dir: Path, tmp_path: Path) -> None:
    from results import open_store

    harness("merge", str(tmp_path / "other.duckdb"), "board", cwd=source_dir)
    with open_store(tmp_path / "other.duckdb", read_only=False).writing() as opened:
        opened.execute("UPDATE scores SET value = 0.25 WHERE metric = 'r2'")
    done = harness("merge", "x.duckdb", "board", str(tmp_path / "other.duckdb"), cwd=source_dir, code=2)
    assert f"({source_dir}/board and {tmp_path}/other.duckdb)" in done.stderr.replace("\n", "")
