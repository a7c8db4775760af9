"""Tables of a store: every other catalog is refused by one sentence, and nothing of it is evaluated."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from hostile_stores import SECRET, Mutation, catalogs, hostile_store

from results import CellRecord, Store, StoreError, open_store
from results.store import catalog, connection
from results.store.merge import merge

CATALOGS = list(catalogs())
#: One of each kind; the slow test takes all.
SAMPLE = CATALOGS[::9]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = open_store(tmp_path_factory.mktemp("catalog") / "results.duckdb", read_only=False)
    store.record(CellRecord(cell_id="a", status="finished", backbone="b", site="s", method="elude"))
    return store.path


def check(source: Path, tmp_path: Path, mutation: Mutation) -> None:
    path = hostile_store(source, tmp_path / "results.duckdb", mutation)
    if not mutation.refused:
        assert open_store(path).statuses() == {"a": "finished"}
        assert len(open_store(path).cells()) == 1
        open_store(path, read_only=False).relabel({"a": "renamed"})
        assert open_store(path).cells()["label"].tolist() == ["renamed"]
        return
    before = path.read_bytes()
    for read_only in (True, False):
        with pytest.raises(StoreError) as caught:
            open_store(path, read_only).cells()
        message = str(caught.value)
        assert "\n" not in message and len(message) < 600 and SECRET not in message
        assert "not a results store" in message or "has schema version" in message
    assert path.read_bytes() == before


@pytest.mark.parametrize("mutation", SAMPLE, ids=lambda mutation: mutation.name)
def test_reading_and_writing(source: Path, tmp_path: Path, mutation: Mutation) -> None:
    check(source, tmp_path, mutation)


@pytest.mark.slow
@pytest.mark.parametrize("mutation", CATALOGS, ids=lambda mutation: mutation.name)
def test_reading_and_writing_all(source: Path, tmp_path: Path, mutation: Mutation) -> None:
    check(source, tmp_path, mutation)


def test_a_view_that_reads_a_file_is_neither_merged_nor_printed(source: Path, tmp_path: Path) -> None:
    mutation = next(mutation for mutation in CATALOGS if mutation.name.startswith("view of file"))
    path = hostile_store(source, tmp_path / "results.duckdb", mutation)
    with pytest.raises(StoreError, match="cells is a view, not a table"):
        merge(tmp_path / "out.duckdb", [source, path])
    assert not (tmp_path / "out.duckdb").exists()


def test_the_error_names_what_differs(source: Path, tmp_path: Path) -> None:
    for statement, difference in (
        ("ALTER TABLE cells ADD COLUMN colour VARCHAR", "its table cells has an unknown column 'colour'"),
        ("ALTER TABLE units ALTER unit TYPE BIGINT", "the column units.unit has the type BIGINT, not INTEGER"),
        ("ALTER TABLE units ALTER unit DROP NOT NULL", "the column units.unit may be NULL"),
        ("DROP TABLE outcomes", "it has no table outcomes"),
    ):
        path = hostile_store(source, tmp_path / "x.duckdb", Mutation("", [statement]))
        with pytest.raises(StoreError, match=difference):
            open_store(path).cells()


def test_many_rows_are_refused_before_they_are_read(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hostile_store(
        source,
        tmp_path / "x.duckdb",
        Mutation(
            "",
            [
                "INSERT INTO runs SELECT run_id, "
                "suite, command, '2026-01-01', ended_at, 'finished', code_revision, versions, device, n_planned "
                "FROM (SELECT range::VARCHAR AS run_id, * EXCLUDE run_id FROM range(300) LEFT JOIN runs ON true)"
            ],
        ),
    )
    assert len(open_store(path).runs()) == 300
    monkeypatch.setattr(catalog, "MAX_ROWS", {"runs": 200})
    shutil.copy(path, tmp_path / "y.duckdb")
    with pytest.raises(StoreError, match="its table runs has 300 rows, and at most 200 are read"):
        open_store(tmp_path / "y.duckdb").runs()


def test_a_file_is_checked_again_when_it_has_changed(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "results.duckdb"
    shutil.copy(source, path)
    store = open_store(path)
    assert store.statuses() == {"a": "finished"}
    with duckdb.connect(str(path)) as opened:
        opened.execute("ALTER TABLE cells RENAME TO kept")
        opened.execute("CREATE VIEW cells AS FROM kept")
    with pytest.raises(StoreError, match="cells is a view"):
        store.statuses()
    shutil.copy(source, tmp_path / "other.duckdb")
    (tmp_path / "other.duckdb").replace(path)
    assert store.statuses() == {"a": "finished"}


def test_an_unchanged_file_is_checked_once(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(source)
    store.statuses()
    monkeypatch.setattr(connection.schema, "stored_version", None)
    assert store.statuses() == {"a": "finished"}


def test_a_store_that_only_this_process_writes_is_checked_at_its_first_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path / "results.duckdb", read_only=False)
    record = CellRecord(cell_id="a", status="finished", backbone="b", site="s", method="elude")
    store.record(record)
    with monkeypatch.context() as patch:
        patch.setattr(connection.schema, "stored_version", None)
        store.record(dataclasses.replace(record, cell_id="b"))
    # Another program adds an index between two writes.
    with duckdb.connect(str(store.path)) as opened:
        opened.execute("CREATE INDEX mine ON cells (label)")
    with pytest.raises(StoreError, match="has the index 'mine'"):
        store.relabel({"a": "renamed"})
    with duckdb.connect(str(store.path)) as opened:
        opened.execute("DROP INDEX mine")
    store.relabel({"a": "renamed"})
    assert store.cells().set_index("cell_id")["label"]["a"] == "renamed"


def test_a_store_that_replaces_a_written_one_is_checked(tmp_path: Path, source: Path) -> None:
    path = tmp_path / "results.duckdb"
    shutil.copy(source, path)
    store = open_store(path, read_only=False)
    store.relabel({"a": "renamed"})
    shutil.copy(source, tmp_path / "other.duckdb")
    with duckdb.connect(str(tmp_path / "other.duckdb")) as opened:
        opened.execute("CREATE INDEX mine ON cells (label)")
    (tmp_path / "other.duckdb").replace(path)
    with pytest.raises(StoreError, match="has the index 'mine'"):
        store.relabel({"a": "again"})


def test_rows_that_cannot_be_checkpointed_are_kept_and_the_store_is_checked_again(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.duckdb"
    shutil.copy(source, path)
    store = open_store(path, read_only=False)
    with monkeypatch.context() as patch:
        patch.setattr(connection.schema, "STORE", "missing")
        store.relabel({"a": "renamed"})
    assert path not in connection.schema._written
    assert store.cells()["label"].tolist() == ["renamed"]


def test_a_cell_of_very_many_units_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read as a whole, and some bytes of a file can hold a million of them."""
    store = open_store(tmp_path / "results.duckdb", read_only=False)
    record = CellRecord(cell_id="a", status="finished", backbone="b", site="s", method="elude")
    for number in range(2):
        store.record(dataclasses.replace(record, cell_id=f"{number}"), units=pd.DataFrame({"unit": range(3)}))
    monkeypatch.setattr(catalog, "MAX_UNITS", 3)
    assert len(store.units("0")) == 3
    with store.writing() as opened:
        opened.execute("INSERT INTO units SELECT * FROM units WHERE cell_id = '1'")
    with pytest.raises(StoreError, match="has 6 units, and at most 3 are read"):
        store.statuses()
