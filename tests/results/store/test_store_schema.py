"""Schema versions: old stores keep opening, newer ones say what they are."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from paths import FIXTURES

from results import CellRecord, ScoreRecord, Store, StoreError, open_store
from results.store import schema

FIXTURE = FIXTURES / "store_v1.duckdb"
NEWER = schema.SCHEMA_VERSION + 1


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "results.duckdb", read_only=False)


def cell(cell_id: str) -> CellRecord:
    return CellRecord(cell_id=cell_id, status="finished", backbone="vits", site="fc", method="elude")


@pytest.fixture
def newer_version(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    added = "ALTER TABLE cells ADD COLUMN colour VARCHAR; CREATE TABLE extras (cell_id VARCHAR, x INTEGER[])"
    sql = schema.schema_sql() + added
    monkeypatch.setattr(schema, "SCHEMA_VERSION", NEWER)
    monkeypatch.setattr(schema, "MIGRATIONS", {**schema.MIGRATIONS, NEWER - 1: added})
    monkeypatch.setattr(schema, "schema_sql", lambda: sql)
    schema.current_columns.cache_clear()
    yield
    schema.current_columns.cache_clear()


def check_fixture(store: Store) -> None:
    assert store.statuses() == {"cell-a": "finished", "cell-b": "failed"}
    scores = store.scores().set_index("metric")
    assert scores["value"]["ms_score"] == 0.5831 and math.isnan(scores["value"]["l0"])
    assert scores["params"]["ms_score"] == {"top_k": 100}
    stored = store.units("cell-a")
    assert stored["top_image"][0].tolist() == [1, 0] and math.isnan(stored["ms_score"][1])
    assert store.images("photos")["name"].tolist() == ["a.jpg", "b.jpg"]
    assert store.runs()["started_at"][0] == pd.Timestamp("2026-01-02T03:04:05Z")


def test_the_version_1_fixture_opens_read_only_and_for_writing(tmp_path: Path) -> None:
    check_fixture(open_store(FIXTURE))
    copy = shutil.copy(FIXTURE, tmp_path / "copy.duckdb")
    store = open_store(copy, read_only=False)
    check_fixture(store)
    store.record(cell("new"), [ScoreRecord(metric="r2", value=1.0)], pd.DataFrame({"unit": [0, 1]}))
    assert store.finished(["new", "cell-a"]) == {"new", "cell-a"}


def test_an_older_store_is_read_as_it_is_with_new_columns_null(newer_version: None, tmp_path: Path) -> None:
    copy = Path(shutil.copy(FIXTURE, tmp_path / "copy.duckdb"))
    before = copy.read_bytes()
    reader = open_store(copy)
    check_fixture(reader)
    assert reader.cells()["colour"].tolist() == [None, None]
    assert reader.query("SELECT x FROM extras").empty
    assert copy.read_bytes() == before


def test_an_older_store_is_brought_forward_on_the_first_write_open(newer_version: None, tmp_path: Path) -> None:
    store = open_store(shutil.copy(FIXTURE, tmp_path / "copy.duckdb"), read_only=False)
    check_fixture(store)
    meta = store.query("SELECT schema_version, migrated_at FROM meta")
    assert meta["schema_version"].tolist() == [NEWER] and meta["migrated_at"].notna().all()
    assert store.cells()["colour"].tolist() == [None, None]
    store.record(cell("new"))
    open_store(store.path, read_only=False)
    assert len(store.cells()) == 3


def test_a_migration_that_fails_leaves_the_store_as_it_was(
    newer_version: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copy(FIXTURE, tmp_path / "copy.duckdb")
    broken = f"{schema.MIGRATIONS[NEWER - 1]}; SELECT nonsense"
    monkeypatch.setattr(schema, "MIGRATIONS", {**schema.MIGRATIONS, NEWER - 1: broken})
    with pytest.raises(StoreError, match="Nothing was written"):
        open_store(copy, read_only=False)
    monkeypatch.undo()
    schema.current_columns.cache_clear()
    check_fixture(open_store(copy, read_only=False))


@pytest.mark.parametrize("read_only", [True, False])
def test_a_newer_store_says_which_version_it_has(store: Store, read_only: bool) -> None:
    with duckdb.connect(str(store.path)) as opened:
        opened.execute("UPDATE meta SET schema_version = 99")
    message = f"has schema version 99 and this program reads up to version {schema.SCHEMA_VERSION}; upgrade"
    with pytest.raises(StoreError, match=message):
        open_store(store.path, read_only).query("SELECT 1")


def test_migrating_makes_the_same_tables_as_a_new_store(store: Store, tmp_path: Path) -> None:
    def shape(path: Path) -> list[tuple[str, ...]]:
        with duckdb.connect(str(path), read_only=True) as opened:
            columns = opened.execute(
                "SELECT table_name, column_name, data_type, is_nullable, column_default FROM duckdb_columns() "
                "WHERE NOT internal ORDER BY ALL"
            ).fetchall()
            constraints = opened.execute(
                "SELECT table_name, constraint_type, constraint_text FROM duckdb_constraints() ORDER BY ALL"
            ).fetchall()
            return [*columns, *constraints]

    old = open_store(shutil.copy(FIXTURE, tmp_path / "copy.duckdb"), read_only=False)
    assert shape(old.path) == shape(store.path)
