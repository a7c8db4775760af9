"""Disk space beside a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from results.app import disk_use as module
from results.app.disk_use import disk_use


def test_each_folder_beside_a_store_is_counted(tmp_path: Path) -> None:
    store = tmp_path / "r.duckdb"
    store.write_bytes(b"x" * 10)
    (tmp_path / "cache" / "tokens").mkdir(parents=True)
    (tmp_path / "cache" / "tokens" / "a").write_bytes(b"x" * 20)
    (tmp_path / "cache" / "b").symlink_to(store)
    (tmp_path / "grids").symlink_to(tmp_path / "cache")
    (tmp_path / "other").mkdir()
    assert disk_use(store) == [("store", 10, True), ("cached tokens and baselines", 20, True)]
    assert disk_use(tmp_path / "none.duckdb")[0] == ("store", 0, True)


def test_a_folder_of_many_files_is_not_counted_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_FILES", 3)
    (tmp_path / "cache").mkdir()
    for number in range(5):
        (tmp_path / "cache" / str(number)).write_bytes(b"x")
    assert disk_use(tmp_path / "r.duckdb")[1] == ("cached tokens and baselines", 3, False)
