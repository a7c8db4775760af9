"""Export of concept labels: every labelling, with the columns that identify the cell, filtered as other rows are."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from app_store import make_store
from command_line import harness
from labelled_store import add_labels

from results import Store
from results.errors import StoreError
from results.export import raw_frame


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = make_store(tmp_path_factory.mktemp("labels") / "r.duckdb")
    add_labels(store, "elude-42", {0: ["dog", "=cmd()"], 1: ["cat"]}, labelling="first")
    add_labels(store, "elude-42", {0: ["bird"]}, labelling="second", days=1)
    add_labels(store, "identity-other", {3: ["tree"]}, scorer="classes")
    return store


def test_every_label_is_a_row_with_its_cell(store: Store) -> None:
    frame = raw_frame(store, "labels")
    columns = ["cell_id", "method_label", "token_seed", "scorer", "labelling", "unit", "rank", "label", "score"]
    rows = [("first", 0, 1, "dog", 3.0), ("first", 0, 2, "=cmd()", 2.0), ("first", 1, 1, "cat", 3.0)]
    expected = [["elude-42", "ELUDe", 42, "clip", *row] for row in [*rows, ("second", 0, 1, "bird", 3.0)]]
    other = ["identity-other", "backbone only", 42, "classes", "classes of identity-other", 3, 1, "tree", 3.0]
    assert sorted(frame[columns].values.tolist()) == sorted([*expected, other])


def test_the_command_writes_and_filters_them(store: Store, tmp_path: Path) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        done = harness("export", *arguments, "--what", "labels", "--store", str(store.path), cwd=tmp_path, code=code)
        return done.stderr if code else done.stdout

    frame = pd.read_csv(io.StringIO(run("-", "--backbone", "z_cnn")))
    assert frame["label"].tolist() == ["tree"]
    # A program of tables would compute a text that begins with this sign.
    assert "'=cmd()" in run("-")
    run("labels.parquet")
    assert len(pd.read_parquet(tmp_path / "labels.parquet")) == 5
    assert "--what labels can be CSV or Parquet" in run("labels.html", code=2)
    assert "--metric cannot be used with --what labels" in run("-", "--metric", "r2", code=2)


def test_a_store_without_labels_has_nothing_to_export(tmp_path: Path) -> None:
    make_store(tmp_path / "r.duckdb")
    done = harness("export", "-", "--what", "labels", "--store", "r.duckdb", cwd=tmp_path, code=2)
    assert "no row of labels matches" in done.stderr


def test_other_tables_are_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="boards, cells, scores, labels"):
        raw_frame(store, "units")
