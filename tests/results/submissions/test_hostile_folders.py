"""Folders that were made to harm the reader: nothing outside is read, nothing large is unpacked, no traceback."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from submission_store import document_of

from results.errors import StoreError
from results.store import schema
from results.submissions import files
from results.submissions.files import MAX_BYTES
from results.submissions.folder import read_folder
from results.submissions.parquet_reader import inserting
from results.submissions.rebuild import rebuild, rebuilt
from results.submissions.strict import verify_strict
from results.submissions.submit import submit
from results.submissions.text import render

SECRET = "the secret of this machine"


@pytest.fixture
def copied(single_cell: Path, tmp_path: Path) -> Path:
    """Return a copy of a repository with one cell."""
    return Path(shutil.copytree(single_cell, tmp_path / "repository"))


def problems_of(folder: Path, file: str = "") -> list[str]:
    """Return the reasons that are given for a file; nothing of the secret is in any sentence."""
    content = read_folder(folder)
    with tempfile.TemporaryDirectory() as scratch_dir:
        problems = content.problems + rebuild(content, Path(scratch_dir) / "r.duckdb")
    assert SECRET not in repr(problems)
    assert all("\n" not in problem.why for problem in problems)
    return [problem.why for problem in problems if problem.file.startswith(file)]


def test_links_are_never_followed(copied: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text(f'{{"cell": "{SECRET}"}}', encoding="utf-8")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b.json").write_text(f'{{"kind": "{SECRET}"}}', encoding="utf-8")
    root = copied / "results"
    (root / "a.json").symlink_to(secret)
    (root / "linked").symlink_to(outside, target_is_directory=True)
    units = document_of(copied).with_suffix(".units.parquet")
    units.unlink()
    units.symlink_to("/etc/passwd")
    (root / "loop").symlink_to(root, target_is_directory=True)
    for name in ("a.json", "linked", "loop", str(units.relative_to(root))):
        assert problems_of(copied, name)[0] == "is a link, which is not followed."


def test_the_folder_results_may_not_be_a_link(copied: Path) -> None:
    (copied / "results").rename(copied / "other")
    (copied / "results").symlink_to(copied / "other", target_is_directory=True)
    with pytest.raises(StoreError, match="is not a folder"):
        verify_strict(copied)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_is_not_waited_for(copied: Path) -> None:
    os.mkfifo(copied / "results" / "pipe.json")
    assert problems_of(copied, "pipe.json") == ["is not a regular file."]


def test_large_files_are_not_read(copied: Path) -> None:
    """Sparse files take no space, and would fill the memory."""
    units = document_of(copied).with_suffix(".units.parquet")
    for path, limit in ((units, MAX_BYTES[".parquet"]), (document_of(copied), MAX_BYTES[".json"])):
        with path.open("r+b") as file:
            file.truncate(1 << 40)
        name = str(path.relative_to(copied / "results"))
        assert f"has {1 << 40} bytes, and at most {limit} are read." in problems_of(copied, name)


def test_odd_files_and_names_are_named(copied: Path) -> None:
    root = copied / "results"
    deep = root / "a" / "b" / "c" / "d"
    deep.mkdir(parents=True)
    (root / "evil.py").write_text("raise SystemExit", encoding="utf-8")
    (root / "a\u202eb\n.json").write_text("{}", encoding="utf-8")
    (root / os.fsdecode(b"bytes\xff.json")).write_text("[" * 100_000, encoding="utf-8")
    (root / "x.parquet").write_bytes(b"PAR1")
    assert "levels deep" in problems_of(copied, "a/b/c/d")[0]
    assert "no file of a submission" in problems_of(copied, "evil.py")[0]
    assert "no document names" in problems_of(copied, "x.parquet")[0]
    assert "levels deep" in problems_of(copied, "bytes")[0]
    assert len(problems_of(copied, "a\u202eb")) == 1


def test_the_number_of_files_is_bounded(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILES", 3)
    with pytest.raises(StoreError, match="more than 3 files"):
        verify_strict(copied)


# Parquet


def with_units(folder: Path, sql: str, **stated: Any) -> list[str]:
    """Replace the units of a cell with the rows of a query, and return the reasons that are given for them."""
    path = document_of(folder)
    units = path.with_suffix(".units.parquet")
    with duckdb.connect() as opened:
        opened.execute(f"COPY ({sql.format(units=units)}) TO '{units}' (FORMAT parquet)")
    return named(folder, units, **stated)


def named(folder: Path, units: Path, **stated: Any) -> list[str]:
    path = document_of(folder)
    document = json.loads(path.read_text(encoding="utf-8"))
    hashed = hashlib.sha256(units.read_bytes()).hexdigest()
    document["tables"]["units"] |= {"sha256": hashed, **stated}
    path.write_text(render(document), encoding="utf-8")
    return problems_of(folder, str(units.relative_to(folder / "results")))


ALL = "SELECT * FROM read_parquet('{units}')"


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT 1 AS unit", "it lacks parent"),
        (f"SELECT *, 1 AS more FROM ({ALL})", "has an unknown column 'more'"),
        (f"SELECT * REPLACE (unit::VARCHAR AS unit) FROM ({ALL})", "unit is VARCHAR"),
        (f"SELECT * REPLACE (top_value::DOUBLE[] AS top_value) FROM ({ALL})", "top_value is DOUBLE[]"),
        (f"SELECT u.* FROM ({ALL}) u, range(2)", "has 16 rows, and"),
        (f"SELECT u.* FROM ({ALL}) u, range(200000)", "1600000 rows in"),
        (
            f"SELECT * REPLACE (list_transform(range(100000), lambda x: 0::INTEGER) AS top_image) FROM ({ALL})",
            "800000 values in a column of 8 rows",
        ),
    ],
)
def test_tables_of_other_shapes_and_sizes_are_refused(copied: Path, sql: str, words: str) -> None:
    reasons = with_units(copied, sql)
    assert any(words in reason for reason in reasons), reasons


def test_what_takes_much_memory_is_not_unpacked(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal bytes of 16 MB are some kilobytes in the file."""
    path = document_of(copied).with_suffix(".unit_maps.parquet")
    with duckdb.connect() as opened:
        rows = f"SELECT * REPLACE (repeat('x', 8000000)::BLOB AS maps) FROM read_parquet('{path}')"
        opened.execute(f"COPY ({rows}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
    assert path.stat().st_size < 100_000
    document = json.loads(document_of(copied).read_text(encoding="utf-8"))
    document["tables"]["unit_maps"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    document_of(copied).write_text(render(document), encoding="utf-8")
    reasons = problems_of(copied, str(path.relative_to(copied / "results")))
    assert any("bytes when it is unpacked" in reason for reason in reasons), reasons


def test_a_row_twice_is_refused(copied: Path) -> None:
    path = document_of(copied)
    outcomes = path.with_suffix(".outcomes.parquet")
    with duckdb.connect() as opened:
        opened.execute(
            f"COPY (SELECT o.* FROM read_parquet('{outcomes}') o, range(2)) TO '{outcomes}' (FORMAT parquet)"
        )
    document = json.loads(path.read_text(encoding="utf-8"))
    hashed = hashlib.sha256(outcomes.read_bytes()).hexdigest()
    document["tables"]["outcomes"] = {"rows": 2, "sha256": hashed}
    path.write_text(render(document), encoding="utf-8")
    (reason,) = problems_of(copied, str(outcomes.relative_to(copied / "results")))
    assert reason.startswith("has a row twice, or one without a key")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"PAR1PAR1",
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2] + content[-8:],
        lambda content: content[:-8] + b"\xff\xff\xff\x7f" + content[-4:],
        lambda content: content[:4] + bytes(len(content) - 600) + content[-596:],
        lambda content: b"SELECT 1;" * 100,
        lambda content: content[4:],
    ],
)
def test_damaged_tables_are_a_sentence(copied: Path, damage: Callable[[bytes], bytes]) -> None:
    units = document_of(copied).with_suffix(".units.parquet")
    units.write_bytes(damage(units.read_bytes()))
    (reason, *_) = named(copied, units)
    assert "cannot be read as Parquet" in reason or "does not have the columns" in reason
    assert "\n" not in reason


@pytest.mark.slow
def test_every_byte_of_the_description_may_be_another_one(single_cell: Path, tmp_path: Path) -> None:
    """No traceback, and no crash of DuckDB."""
    content = document_of(single_cell).with_suffix(".units.parquet").read_bytes()
    length = int.from_bytes(content[-8:-4], "little") + 8
    schema.create(tmp_path / "r.duckdb")
    n_refused = 0
    with inserting(tmp_path / "r.duckdb") as inserter:
        for position in range(len(content) - length, len(content), 7):
            for bits in (0xFF, 0x01, 0x80):
                changed = content[:position] + bytes([content[position] ^ bits]) + content[position + 1 :]
                try:
                    inserter.insert("units", changed, {"cell_id": "x"})
                except StoreError:
                    n_refused += 1
    assert n_refused > 100


# Texts


def test_texts_of_other_places_are_no_paths(copied: Path) -> None:
    """A site with the name of a path is a folder with a plain name, so a document there is at the wrong path."""
    path = document_of(copied)
    document = json.loads(path.read_text(encoding="utf-8"))
    document["cell"]["site"] = document["identity"]["site"] = "../../../../etc"
    path.write_text(render(document), encoding="utf-8")
    assert any("hash of the identity" in why for why in problems_of(copied, str(path.relative_to(copied / "results"))))


def test_a_folder_with_a_problem_is_not_merged(copied: Path) -> None:
    document_of(copied).write_text("{}", encoding="utf-8")
    with (
        pytest.raises(StoreError, match=r"cannot be read: .*kind is missing.*harness verify --strict"),
        rebuilt(copied),
    ):
        pass


def test_nothing_is_written_through_a_link(submitted_store: Any, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "repository" / "results").mkdir(parents=True)
    (tmp_path / "repository" / "results" / "tiny_vit").symlink_to(outside, target_is_directory=True)
    with pytest.raises(StoreError, match="is a link or a file"):
        submit(submitted_store.path, tmp_path / "repository")
    assert [*outside.iterdir()] == []
