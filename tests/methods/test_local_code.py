"""Hashes of modules that belong to no installed package."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from methods.local_code import local_source
from methods.plugin_files import plugin_source


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("local_")]:
        del sys.modules[name]


def imported(folder: Path, name: str, source: str) -> str | None:
    (folder / f"{name}.py").write_text(source)
    importlib.invalidate_caches()
    importlib.import_module(name)
    return local_source(name)


def test_a_local_module_is_known_by_its_file(folder: Path) -> None:
    first = imported(folder, "local_a", "k = 1\n")
    second = imported(folder, "local_b", "k = 2\n")
    assert first and second and first != second


def test_the_modules_that_it_names_count(folder: Path) -> None:
    imported(folder, "local_helper", "def scale(x): return x\n")
    first = imported(folder, "local_user", "from local_helper import scale\n")
    imported(folder, "local_other", "def scale(x): return 2 * x\n")
    second = imported(folder, "local_user2", "from local_other import scale\n")
    assert first != second


def test_installed_packages_and_those_of_this_project_have_none() -> None:
    for name in ("torch", "numpy", "json", "methods.identity", "no.such.module", "builtins"):
        assert local_source(name) is None


def test_classes_of_a_local_module_have_its_hash(folder: Path) -> None:
    source = imported(folder, "local_c", "class C: pass\n")
    assert plugin_source(sys.modules["local_c"].C) == source
