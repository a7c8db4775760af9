"""`submit` of every hostile store: a sentence, or a folder that can be checked; never another error."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile_stores import SECRET, Mutation, catalogs, hostile_store, values

from results import Store
from results.errors import StoreError
from results.submissions.strict import verify_strict
from results.submissions.submit import submit

#: All of the catalog, and a sample of the many of values.
MUTATIONS = [*catalogs(), *[*values()][::60]]


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=[mutation.name for mutation in MUTATIONS])
def test_a_hostile_store_is_refused_or_written_safely(
    submitted_store: Store, tmp_path: Path, mutation: Mutation
) -> None:
    path = hostile_store(submitted_store.path, tmp_path / "hostile.duckdb", mutation)
    folder = tmp_path / "repository"
    try:
        submit(path, folder)
    except StoreError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        assert not folder.exists()
        return
    verdict = verify_strict(folder)
    assert SECRET not in repr(verdict)
    assert {file.parent for file in tmp_path.rglob("*.json")} <= {file.parent for file in folder.rglob("*.json")}
