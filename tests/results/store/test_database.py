"""Connections: no file but the store's, no extension, no network, no function of the file in place of DuckDB's."""

from __future__ import annotations

import threading
from pathlib import Path

import duckdb
import pytest

from results import open_store
from results.store.database import open_database, prefer_builtins


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return open_store(tmp_path / "results.duckdb", read_only=False).path


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM '{file}'",
        "COPY meta TO '{folder}/copy.csv'",
        "COPY meta FROM '{file}'",
        "EXPORT DATABASE '{folder}/export'",
        "ATTACH '{folder}/other.duckdb'",
        "SELECT * FROM read_text('http://127.0.0.1:9/x')",
        "ATTACH 'https://127.0.0.1:9/x.duckdb'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET temp_directory = '{folder}/spill'",
        "PRAGMA enable_profiling",
    ],
)
def test_a_connection_reaches_no_other_file_and_keeps_its_settings(
    path: Path, tmp_path: Path, statement: str, read_only: bool
) -> None:
    (tmp_path / "file.csv").write_text("a,b\n")
    before = sorted(tmp_path.iterdir())
    with open_database(path, read_only=read_only) as opened, pytest.raises(duckdb.Error) as caught:
        opened.execute(statement.format(file=tmp_path / "file.csv", folder=tmp_path)).fetchall()
    assert "download" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_other_files_are_those_that_are_named(path: Path, tmp_path: Path) -> None:
    table = tmp_path / "it's.csv"
    with open_database(None, other_files=[table]) as opened:
        opened.execute(f"COPY (SELECT 1 AS a) TO '{str(table).replace(chr(39), chr(39) * 2)}'")
        with pytest.raises(duckdb.PermissionException):
            opened.execute(f"COPY (SELECT 1 AS a) TO '{tmp_path / 'other.csv'}'")
        with pytest.raises(duckdb.InvalidInputException):
            opened.execute("SET enable_external_access = true")
    assert table.read_text() == "a\n1\n"


def test_a_large_sort_still_spills_beside_the_store(path: Path) -> None:
    with open_database(path) as opened:
        folder = opened.execute("SELECT current_setting('temp_directory')").fetchall()[0][0]
        assert Path(folder) == path.with_name(path.name + ".tmp")
        opened.execute("SELECT count(*) FROM read_blob(?)", [str(path)]).fetchall()


def test_readers_and_a_writer_of_one_process_have_equal_settings(path: Path) -> None:
    store = open_store(path, read_only=False)
    errors: list[BaseException] = []

    def work(write: bool) -> None:
        try:
            for _ in range(3):
                store.end_run("none") if write else store.cells()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number == 0,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.parametrize("name", ["results", "temp", "main", "system", 'a"b,c', "a'b", "ü x"])
def test_built_in_functions_take_precedence_whatever_the_file_is_called(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.duckdb"
    with open_database(path) as opened:
        opened.execute("CREATE TABLE t AS SELECT 1 AS a")
        opened.execute("CREATE MACRO max(x) AS 666")
        opened.execute("CREATE TYPE json AS ENUM ('x')")
        assert opened.execute("SELECT max(a) FROM t").fetchall() == [(666,)]
        prefer_builtins(opened)
        assert opened.execute("SELECT max(a), '{}'::JSON FROM t").fetchall() == [(1, "{}")]
        opened.execute("INSERT INTO t VALUES (2)")
        assert opened.execute("SELECT max(a) FROM t").fetchall() == [(2,)]
