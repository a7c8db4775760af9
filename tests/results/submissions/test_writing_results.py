"""`submit`: what is chosen, what is refused, and that nothing is replaced silently."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import duckdb
import pytest
from submission_store import cell_id_of, document_of, identity

from results import CellRecord, ScoreRecord, Store, open_store
from results.errors import StoreError
from results.submissions.choose import Wanted
from results.submissions.files import FolderProblem
from results.submissions.identities import determined, identity_hash
from results.submissions.strict import verify_strict
from results.submissions.submit import submit


def test_a_document_says_what_a_reviewer_asks(repository: Path) -> None:
    document = json.loads(document_of(repository, "topk_sae-1").read_text(encoding="utf-8"))
    assert document["run"]["code_revision"] == "1234567" and document["run"]["versions"]["torch"] == "2.9.0"
    assert document["cell"]["environment"] == {"threads": 1} and document["cell"]["claims"]["family"] == "sae"
    assert document["scores"]["r2@1"]["value"] == 0.1 + 0.2 and document["scores"]["r2@1"]["uncertainty"] == 1e-17
    assert document["submission"] == {"note": "A note.", "program": "harness 0"}
    assert len(document["curves"]["loss"]["step"]) == 100
    assert document["curves"]["loss"]["step"][0] == 0 and document["curves"]["loss"]["step"][-1] == 249
    assert document["tables"]["units"]["rows"] == 8
    # Files of this machine stay here.
    assert "artifact" not in document["cell"] and "traceback" not in document["cell"]


def changed_store(store: Store, tmp_path: Path, sql: str) -> Path:
    """Return a copy of a store that an SQL statement has changed."""
    path = Path(shutil.copy(store.path, tmp_path / "changed.duckdb"))
    with open_store(path, read_only=False).writing() as opened:
        opened.execute(sql)
    return path


ONE = Wanted(cells=[cell_id_of("elude", 1)])


@pytest.fixture
def copied(single_cell: Path, tmp_path: Path) -> Path:
    """Return a copy of a repository with one cell and its images."""
    return Path(shutil.copytree(single_cell, tmp_path / "repository"))


def problems_of(folder: Path) -> list[FolderProblem]:
    return [problem for problem in verify_strict(folder).problems if "no random control" not in problem.why]


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE scores SET value = 0.25 WHERE metric = 'r2'",
        "UPDATE units SET redundancy = 0.5",
        "UPDATE images SET name = 'x' WHERE \"index\" = 3",
    ],
)
def test_other_content_needs_to_be_said(submitted_store: Store, copied: Path, tmp_path: Path, sql: str) -> None:
    changed = changed_store(submitted_store, tmp_path, sql)
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    with pytest.raises(StoreError, match=r"with other content; nothing was written\. Say --replace"):
        submit(changed, copied, ONE)
    assert before == {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    result = submit(changed, copied, ONE, replace=True)
    assert (len(result.written), len(result.replaced), len(result.unchanged)) == (0, 1, 1)
    assert problems_of(copied) == []


def test_tables_that_a_new_result_lacks_are_removed(submitted_store: Store, copied: Path, tmp_path: Path) -> None:
    changed = changed_store(submitted_store, tmp_path, "DELETE FROM unit_maps")
    submit(changed, copied, ONE, replace=True)
    assert not [*copied.rglob("*.unit_maps.parquet")]
    assert problems_of(copied) == []


def test_tables_with_other_bytes_and_the_same_rows_are_unchanged(submitted_store: Store, copied: Path) -> None:
    """Another version of DuckDB writes other bytes."""
    path = document_of(copied)
    units = path.with_suffix(".units.parquet")
    with duckdb.connect() as opened:
        opened.execute(f"COPY (FROM read_parquet('{units}')) TO '{units}' (FORMAT parquet, COMPRESSION gzip)")
    text = path.read_text(encoding="utf-8")
    stated = json.loads(text)["tables"]["units"]["sha256"]
    path.write_text(text.replace(stated, hashlib.sha256(units.read_bytes()).hexdigest()), encoding="utf-8")
    assert problems_of(copied) == []
    result = submit(submitted_store.path, copied, ONE)
    assert len(result.unchanged) == 2 and result.written == result.replaced == []


@pytest.mark.parametrize(
    ("wanted", "n"),
    [
        (Wanted(), 8),
        (Wanted(cells=[cell_id_of("elude", 1)[:8]]), 1),
        (Wanted(methods=["ELUDe"]), 2),
        (Wanted(methods=["elude", "topk_sae"]), 4),
        (Wanted(suite="demo", backbone="tiny_vit", site="blocks.1.mlp.fc2"), 8),
    ],
)
def test_filters(submitted_store: Store, tmp_path: Path, wanted: Wanted, n: int) -> None:
    result = submit(submitted_store.path, tmp_path, wanted)
    cells = [name for name in result.written if not name.startswith("_") and ".group." not in name]
    assert len(cells) == n


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted(cells=["abc"]), "--cells abc: no cell has an id that starts so; give at least 6 characters"),
        (Wanted(methods=["nmf"]), "--methods nmf: no cell has it; there are elude, random_dictionary"),
        (Wanted(suite="paper"), "There is nothing to submit: no finished cell"),
        (Wanted(methods=["vanilla_sae"]), "There is nothing to submit: no finished cell"),
    ],
)
def test_filters_that_fit_nothing(submitted_store: Store, tmp_path: Path, wanted: Wanted, words: str) -> None:
    with pytest.raises(StoreError, match=words):
        submit(submitted_store.path, tmp_path / "new", wanted)
    assert not (tmp_path / "new").exists()


def test_cells_that_no_run_made_are_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path / "r.duckdb", read_only=False)
    cell = CellRecord(cell_id="mine", status="finished", backbone="b", site="s", method="m")
    store.record(cell, [ScoreRecord(metric="r2", value=1.0)])
    with pytest.raises(StoreError, match=r"The cell mine \(m\) cannot be submitted: cell_id must be 16 hexadecimal"):
        submit(store.path, tmp_path / "new")
    store.forget(["mine"])
    store.record(dataclasses.replace(cell, cell_id=identity_hash({})), [ScoreRecord(metric="r2", value=1.0)])
    with pytest.raises(StoreError, match="only a cell that `harness run` made"):
        submit(store.path, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("label", "a\u202eb", "hidden control characters"),
        ("label", "x" * 100_000, "at most 400 characters"),
        ("backbone", "../../etc", "its identity says"),
        ("config", '["a"]', "JSON of another form in cells.config"),
        ("notes", "[" * 5000 + "]" * 5000, "JSON of another form in cells.notes"),
    ],
)
def test_a_hostile_store_is_a_sentence(
    submitted_store: Store, tmp_path: Path, column: str, value: str, words: str
) -> None:
    path = changed_store(submitted_store, tmp_path, f"UPDATE cells SET {column} = '{value}'")
    with pytest.raises(StoreError, match=words):
        submit(path, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_names_with_signs_become_safe_folders(tmp_path: Path) -> None:
    store = open_store(tmp_path / "r.duckdb", read_only=False)
    cell_identity = {**identity("elude", 1), "backbone": "timm:vit/b", "site": "../up"}
    cell = CellRecord(
        cell_id=identity_hash(cell_identity), status="finished", identity=cell_identity, **determined(cell_identity)
    )
    store.record(cell, [ScoreRecord(metric="kl", value=0.1, direction="lower")])
    (name,) = submit(store.path, tmp_path / "new").written
    assert name.startswith("timm-vit-b-") and ".." not in name
    assert (tmp_path / "new" / "results" / name).is_file()
    assert problems_of(tmp_path / "new") == []


@pytest.mark.parametrize("name", ["repository", "results"])
def test_a_repository_may_have_any_name(submitted_store: Store, tmp_path: Path, name: str) -> None:
    """A clone of a repository named `results` has a folder `results` of its own; without .git it is that folder."""
    folder = tmp_path / name
    (folder / ".git").mkdir(parents=True)
    wanted = Wanted(methods=["elude"])
    assert submit(submitted_store.path, folder, wanted).folder == folder / "results"
    assert submit(submitted_store.path, folder / "results", wanted).written == []
