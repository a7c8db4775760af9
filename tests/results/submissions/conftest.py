"""A store with everything, and the folder of its submission: made once, copied by tests that change them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from submission_store import cell_id_of, make_store

from results import Store
from results.submissions.choose import Wanted
from results.submissions.submit import submit


@pytest.fixture(scope="session")
def submitted_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("submission") / "results.duckdb")


@pytest.fixture(scope="session")
def repository(submitted_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    submit(submitted_store.path, folder, note="A note.", program="harness 0")
    return folder


@pytest.fixture(scope="session")
def single_cell(submitted_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with one cell, which is read in a moment."""
    folder = tmp_path_factory.mktemp("single")
    submit(submitted_store.path, folder, Wanted(cells=[cell_id_of("elude", 1)]))
    return folder


@pytest.fixture
def copied(repository: Path, tmp_path: Path) -> Path:
    """Return a copy of the repository."""
    return Path(shutil.copytree(repository, tmp_path / "repository"))
