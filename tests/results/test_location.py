"""Paths that cannot be a results store: one sentence, nothing opened, downloaded or created."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import NoReturn

import duckdb
import pytest

from results import RunRecord, Store, open_store
from results.errors import StoreError
from results.location import require_location
from results.store.database import open_database
from results.store.liveness import run_states
from results.store.merge import merge

ADDRESSES = [
    ":memory:", ":memory:x", "", "md:", "md:cloud", "motherduck:x", "mysql:host=x", "postgres:dbname=x", "sqlite:x.db",
    "SQLite:x.duckdb", "ducklake:x", "s3://bucket/x.duckdb", "gs://b/x", "https://example.org/x.duckdb", "hf:x/y",
    "azure://x", "file:///x.duckdb", "anything://x", "duckdb:x", "unity:x",
]  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty working directory, with DuckDB out of reach."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("DuckDB was asked")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(duckdb, "connect", refuse)
    return tmp_path


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_are_no_files(here: Path, address: str) -> None:
    for path in (address, Path(address)):
        if os.fspath(path) == ".":
            continue  # what Path makes of an empty text is a folder
        with pytest.raises(StoreError, match=r"is an address|would be lost"):
            require_location(path)
        for read_only in (True, False):
            with pytest.raises(StoreError, match=r"is an address|would be lost"):
                open_store(path, read_only=read_only)
    assert list(here.iterdir()) == []


def test_a_path_may_have_colons(here: Path) -> None:
    for name in ("run:1.duckdb", "./a:b", "C:x.duckdb", str(here / "md:x.duckdb"), "12:30.duckdb"):
        require_location(name)


@pytest.mark.parametrize(
    "name", ["new.sqlite", "new.sqlite3", "NEW.SQLITE", "x.parquet", "x.csv", "x.json", "x.toml", "x.duckdb.wal"]
)
def test_new_files_of_other_formats(here: Path, name: str) -> None:
    with pytest.raises(StoreError, match=r"does not exist, and its suffix is that of"):
        open_store(name, read_only=False)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("name", ["x.duckdb", "x.ddb", "x.db", "x", "results.v2"])
def test_new_stores(tmp_path: Path, name: str) -> None:
    assert open_store(tmp_path / "folder" / name, read_only=False).exists()


def sqlite_file(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a)")


@pytest.mark.parametrize("name", ["x.sqlite", "x.db", "x.duckdb", "x"])
def test_sqlite_files_start_no_download(here: Path, name: str) -> None:
    sqlite_file(here / name)
    before = (here / name).read_bytes()
    for read_only in (True, False):
        with pytest.raises(StoreError, match=r"is not a results store \(not a DuckDB file, but a SQLite database\)"):
            open_store(name, read_only=read_only).query("SELECT 1")
    assert (here / name).read_bytes() == before and [file.name for file in here.iterdir()] == [name]


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (b"", "it is empty"),
        (b"a,b\n1,2\n", "not a DuckDB file"),
        (b"PAR1....PAR1", "a Parquet file"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"DUCK", "not a DuckDB file"),
    ],
)
def test_other_files(here: Path, content: bytes, seen: str) -> None:
    (here / "x.duckdb").write_bytes(content)
    for read_only in (True, False):
        with pytest.raises(StoreError, match=seen):
            open_store("x.duckdb", read_only=read_only).query("SELECT 1")


def test_folders_links_and_devices(here: Path) -> None:
    (here / "folder.duckdb").mkdir()
    (here / "link.duckdb").symlink_to(here / "gone.duckdb")
    (here / "file").write_text("x")
    os.mkfifo(here / "pipe.duckdb")
    for path, sentence in (
        ("folder.duckdb", "is a folder, not a results store; name a file in it"),
        ("link.duckdb", "is a link to a file that does not exist"),
        ("file/x.duckdb", r"folder .*file for the results store cannot be made \(Not a directory\)"),
        ("pipe.duckdb", "is not a regular file"),
        ("n" * 300, "File name too long"),
    ):
        for read_only in (True, False):
            with pytest.raises(StoreError, match=sentence):
                open_store(path, read_only=read_only).query("SELECT 1")


@pytest.mark.parametrize("suffix", [".wal", ".wal.recovery", ".wal.checkpoint"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_a_log_that_is_no_file_is_refused_at_once(tmp_path: Path, suffix: str, kind: str) -> None:
    store = open_store(tmp_path / "x.duckdb", read_only=False)
    (tmp_path / "thesis.txt").write_text("years of work")
    log = tmp_path / f"x.duckdb{suffix}"
    make = {"pipe": os.mkfifo, "folder": os.mkdir, "link": lambda path: path.symlink_to(tmp_path / "thesis.txt")}
    make[kind](log)
    for action in (store.statuses, lambda: store.relabel({"a": "b"})):
        with pytest.raises(StoreError, match="is not a regular file, but DuckDB keeps its log under that name"):
            action()
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_pipe_in_place_of_a_lock_or_of_the_mark_of_a_run_is_not_waited_for(tmp_path: Path) -> None:
    store = open_store(tmp_path / "x.duckdb", read_only=False)
    for run_id in ("run", "../../etc/passwd", "nul\0byte"):
        store.start_run(RunRecord(run_id=run_id))
    (tmp_path / "x.duckdb.lock").unlink()
    os.mkfifo(tmp_path / "x.duckdb.lock")
    os.mkfifo(tmp_path / "x.duckdb.run.running")
    assert len(run_states(store)) == 3
    store.end_run("run")


def test_a_merge_replaces_stores_only(tmp_path: Path) -> None:
    stores = [open_store(tmp_path / f"{number}.duckdb", read_only=False).path for number in (1, 2)]
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match="not a DuckDB file"):
        merge(tmp_path / "thesis.txt", stores, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    sqlite_file(tmp_path / "x.db")
    with pytest.raises(StoreError, match="a SQLite database"):
        merge(tmp_path / "out.duckdb", [stores[0], tmp_path / "x.db"])


def test_no_extension_is_loaded(tmp_path: Path) -> None:
    store = open_store(tmp_path / "x.duckdb", read_only=False)
    sqlite_file(tmp_path / "y.db")
    for opened in (open_database(store.path, read_only=True), open_database(None)):
        with opened:
            for setting in ("autoinstall_known_extensions", "autoload_known_extensions"):
                assert opened.execute(f"SELECT current_setting('{setting}')").fetchall() == [(False,)]
            with pytest.raises(duckdb.Error) as caught:
                opened.execute(f"ATTACH '{tmp_path / 'y.db'}' AS other")
            assert "download" not in str(caught.value)
    assert Store(tmp_path / "x.duckdb").statuses() == {}
