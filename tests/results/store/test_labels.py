"""Labels of units and effects of steering in a store: written with scores, replaced, merged, deleted and verified."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from results import CellRecord, ScoreRecord, Store, open_store
from results.store.labels import LabellingRecord, labellings, record_labels, unit_labels
from results.store.merge import merge
from results.store.steerings import SteeringRecord, record_steering, steerings
from results.verify import verify

START = datetime(2026, 1, 2, tzinfo=UTC)


def made(path: Path, r2: float = 0.5) -> Store:
    store = open_store(path, read_only=False)
    cell = CellRecord(
        cell_id="c", status="finished", backbone="vits", site="fc", method="elude", run_id="r", started_at=START
    )
    store.record(cell, [ScoreRecord(metric="r2", value=r2)], pd.DataFrame({"unit": [0, 1]}))
    return store


def label(store: Store, name: str = "L", *, word: str = "dog", scorer: str = "clip", days: int = 0) -> None:
    rows = [(unit, rank, f"{word} {rank}", 3.0 - rank, 1.0, 0.01) for unit in (0, 1) for rank in (1, 2)]
    frame = pd.DataFrame(rows, columns=["unit", "rank", "label", "score", "null_score", "p_value"])
    record = LabellingRecord(
        cell_id="c",
        labelling=name,
        scorer=scorer,
        version=1,
        settings={"concepts": "common"},
        n_units=2,
        n_images=9,
        labelled_at=START + timedelta(days=days),
    )
    details = {"labelling": name}
    score = ScoreRecord(metric="labelled_share", value=1.0, n=2, params={"settings": name}, details=details)
    record_labels(store, record, frame, [score])


def test_labels_replace_those_of_the_same_settings_and_the_newest_of_each_scorer_are_read(tmp_path: Path) -> None:
    store = made(tmp_path / "r.duckdb")
    label(store, word="cat")
    label(store)
    label(store, "M", word="bird", days=1)
    label(store, "N", word="tree", scorer="classes")
    assert len(store.scores(cell_id="c")) == 1 + 3
    frame = unit_labels(store, "c", units=[1])
    assert frame[["scorer", "rank", "label"]].values.tolist() == [
        ["classes", 1, "tree 1"],
        ["classes", 2, "tree 2"],
        ["clip", 1, "bird 1"],
        ["clip", 2, "bird 2"],
    ]
    assert unit_labels(store, "c", "L", most=1)["label"].tolist() == ["dog 1", "dog 1"]
    assert labellings(store, ["c"])["labelling"].tolist() == ["M", "L", "N"]
    assert labellings(store, ["c"])["settings"][0] == {"concepts": "common"}
    assert unit_labels(store, "no such cell").empty and labellings(store, []).empty


def test_they_are_deleted_with_the_cell(tmp_path: Path) -> None:
    store = made(tmp_path / "r.duckdb")
    label(store)
    steer(store)
    made(tmp_path / "r.duckdb")
    for table in ("labellings", "unit_labels", "steerings"):
        assert store.query(f"SELECT count(*) AS n FROM {table}")["n"][0] == 0


def steer(store: Store, days: int = 0, **result: Any) -> None:
    record_steering(
        store,
        SteeringRecord(
            cell_id="c",
            steering="s",
            kind="classes",
            settings={"alpha": 5},
            result=result,
            steered_at=START + timedelta(days=days),
        ),
    )


def test_an_effect_replaces_that_of_the_same_settings(tmp_path: Path) -> None:
    store = made(tmp_path / "r.duckdb")
    steer(store, gain=1.0)
    steer(store, gain=2.0)
    (row,) = steerings(store, ["c"]).to_dict("records")
    assert row["result"] == {"gain": 2.0} and row["settings"] == {"alpha": 5} and row["kind"] == "classes"


def test_what_was_added_to_a_cell_later_is_merged_from_every_store(tmp_path: Path) -> None:
    first, second = made(tmp_path / "a.duckdb"), made(tmp_path / "b.duckdb")
    label(first, word="first")
    label(second, word="second")
    label(second, "M", word="other", days=1)
    steer(second, gain=1.0)
    merge(tmp_path / "out.duckdb", [first.path, second.path])
    merged = open_store(tmp_path / "out.duckdb")
    assert set(unit_labels(merged, "c", "L")["label"]) == {"first 1", "first 2"}
    assert set(unit_labels(merged, "c", "M")["label"]) == {"other 1", "other 2"}
    assert len(merged.scores(cell_id="c")) == 1 + 2 and len(steerings(merged, ["c"])) == 1
    assert not [problem for problem in verify(merged).problems if problem.check == "labels"]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE unit_labels SET unit = 7 WHERE unit = 1", "2 are of units that do not exist"),
        ("UPDATE unit_labels SET labelling = 'X'", "4 are of no stored labelling"),
        ("UPDATE unit_labels SET rank = 0", "4 have a rank below 1"),
        ("UPDATE unit_labels SET rank = 1", "2 share unit and rank"),
        ("UPDATE unit_labels SET p_value = 1.5 WHERE rank = 1", "2 have a p-value that is not from 0 to 1"),
        ("DELETE FROM unit_labels WHERE unit = 0", "are of 1 units, and the labelling states 2"),
        ("UPDATE unit_labels SET score = 'inf' WHERE rank = 2", "2 have no finite score"),
        ("UPDATE unit_labels SET label = repeat('x', 201) WHERE rank = 2", "2 are longer than 200 characters"),
        ("UPDATE unit_labels SET label = 'a' || chr(27) WHERE rank = 2", "has control characters"),
        ("UPDATE scores SET value = 0.99 WHERE metric = 'labelled_share'", "0.99, and their rows give 1"),
    ],
)
def test_impossible_labels_are_named(tmp_path: Path, statement: str, words: str) -> None:
    store = made(tmp_path / "r.duckdb")
    label(store)
    assert not [problem for problem in verify(store).problems if problem.check == "labels"]
    with duckdb.connect(str(store.path)) as opened:
        opened.execute(statement)
    assert any(words in problem.why for problem in verify(open_store(store.path)).problems if problem.check == "labels")


def test_labels_of_another_fit_are_not_merged_with_a_cell(tmp_path: Path) -> None:
    first, second = made(tmp_path / "a.duckdb", r2=0.5), made(tmp_path / "b.duckdb", r2=0.9)
    label(second)
    steer(second, gain=1.0)
    merge(tmp_path / "out.duckdb", [first.path, second.path], prefer="first")
    merged = open_store(tmp_path / "out.duckdb")
    assert merged.scores(cell_id="c")["metric"].tolist() == ["r2"]
    assert unit_labels(merged, "c").empty and labellings(merged, ["c"]).empty and steerings(merged, ["c"]).empty
