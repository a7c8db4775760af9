"""The store: what goes in comes out, every failure is a sentence, and it is quick and light."""

from __future__ import annotations

import math
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from paths import ROOT

from results import CellRecord, RunRecord, ScoreRecord, Store, StoreError, open_store
from results.published.tables import published_table, published_tables
from results.store import connection

pytestmark = pytest.mark.run

STARTED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "results.duckdb", read_only=False)


def cell(cell_id: str = "cell-a", **changes: Any) -> CellRecord:
    fields: dict[str, Any] = {
        "cell_id": cell_id,
        "status": "finished",
        "backbone": "vits",
        "site": "blocks.9.mlp.fc2",
        "method": "elude",
    }
    return CellRecord(**(fields | changes))


def units(n: int, top: int = 3) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "unit": np.arange(n),
            "parent": np.arange(n) // 8,
            "alive": np.ones(n, dtype=bool),
            "ms_score": generator.random(n),
            "max_activation": generator.random(n),
            "min_activation": -generator.random(n),
            "fires": np.arange(n),
            "top_image": list(generator.integers(0, 1000, (n, top))),
            "top_position": list(generator.integers(0, 256, (n, top))),
            "top_value": list(generator.random((n, top), dtype=np.float32)),
        }
    )


# What goes in comes out


def test_a_cell_comes_back_as_it_was_written(store: Store) -> None:
    store.start_run(RunRecord(run_id="run-1", suite="demo", code_revision="abc123", started_at=STARTED))
    store.record(
        cell(
            run_id="run-1",
            suite="demo",
            config={"rho": np.float32(0.5), "layers": (1, 2)},
            token_seed=np.int64(42),
            identity={"weights": "sha"},
            started_at=STARTED,
            seconds=1.5,
            n_units=3072,
            claims={"lossless": True},
            notes=["One sentence."],
        )
    )
    (stored,) = store.cells().to_dict("records")
    assert stored["config"] == {"rho": 0.5, "layers": [1, 2]}
    assert stored["identity"] == {"weights": "sha"} and stored["claims"] == {"lossless": True}
    assert stored["notes"] == ["One sentence."] and stored["label"] == "elude"
    assert (stored["token_seed"], stored["seconds"], stored["n_units"]) == (42, 1.5, 3072)
    assert stored["init_seed"] is None and stored["artifact"] is None and stored["error_type"] is None
    assert stored["started_at"] == pd.Timestamp(STARTED) and stored["started_at"].tzinfo is not None
    assert stored["code_revision"] == "abc123"


def test_config_id_is_of_method_and_config_alone_and_must_not_change() -> None:
    one = cell("a", config={"k": 32, "lr": 0.1}, token_seed=1)
    assert one.config_id == cell("b", config={"lr": 0.1, "k": 32}, token_seed=2).config_id
    assert one.config_id != cell("a", config={"k": 33, "lr": 0.1}).config_id
    assert one.config_id != cell("a", method="pca", config={"k": 32, "lr": 0.1}).config_id
    assert one.config_id == "816b146f2ed1cbc4"  # must not change: old stores are averaged by it


def test_nan_comes_back_as_nan_and_null_as_missing(store: Store) -> None:
    values = {"nan": math.nan, "null": None, "infinite": math.inf, "number": 0.25}
    store.record(cell(), [ScoreRecord(metric=name, value=value) for name, value in values.items()])
    stored = store.scores().set_index("metric")["value"]
    assert math.isnan(stored["nan"]) and stored["nan"] is not pd.NA
    assert stored["null"] is pd.NA
    assert (stored["infinite"], stored["number"]) == (math.inf, 0.25)
    counts = store.query("SELECT count(*) FILTER (isnan(value)) AS nan, count(*) - count(value) AS n FROM scores")
    assert counts.iloc[0].tolist() == [1, 1]


def test_units_keep_nan_in_columns_and_lists_and_missing_columns_are_null(store: Store) -> None:
    frame = pd.DataFrame(
        {
            "unit": [0, 1],
            "parent": pd.array([3, None], dtype="Int64"),
            "ms_score": [math.nan, 0.5],
            "max_activation": pd.array([None, 1.0], dtype="Float64"),
            "top_image": [[5, 6], np.array([], dtype=np.int64)],
            "top_value": [np.array([math.nan, 2.0]), None],
        },
        index=["any", "index"],
    )
    store.record(cell(), units=frame)
    stored = store.units("cell-a")
    assert math.isnan(stored["ms_score"][0]) and stored["ms_score"][1] == 0.5
    assert stored["max_activation"][0] is pd.NA and stored["parent"][1] is pd.NA
    assert stored["fires"].isna().all()
    assert stored["top_image"][0].tolist() == [5, 6] and stored["top_image"][1].tolist() == []
    assert math.isnan(stored["top_value"][0][0]) and stored["top_value"][0][1] == 2.0
    assert stored["top_value"][1] is None
    nulls = store.query("SELECT count(*) AS n FROM units WHERE ms_score IS NULL OR list_contains(top_value, NULL)")
    assert nulls["n"][0] == 0


@pytest.mark.parametrize(
    "name", ["'; DROP TABLE scores; --", 'a "quoted" name', "[red]", "方法", "", "nul\0byte", "surrogate\udc80"]
)
def test_any_text_is_safe(store: Store, name: str) -> None:
    score = ScoreRecord(metric=name or "m", value=1.0, params={name: name})
    store.record(cell(name or "id", method=name or "m", error_message=name, config={name: [name]}), [score])
    expected = name.replace("\udc80", "\\udc80")
    stored = store.scores()
    assert stored["label"][0] == (expected or "m") and stored["params"][0] == {expected: expected}
    assert store.finished([expected or "id"]) == {expected or "id"}


def test_recording_a_cell_again_replaces_all_of_it(store: Store) -> None:
    store.record(cell(status="failed", error_type="ValueError"))
    assert store.finished(["cell-a"]) == set() and store.statuses() == {"cell-a": "failed"}
    store.record(cell(), [ScoreRecord(metric="r2", value=1.0), ScoreRecord(metric="l0", value=3.0)], units(5))
    store.record(cell(), [ScoreRecord(metric="r2", value=0.5)], units(2))
    assert store.scores()[["metric", "value"]].to_numpy().tolist() == [["r2", 0.5]]
    assert len(store.units("cell-a")) == 2 and len(store.cells()) == 1
    assert store.cells()["error_type"][0] is None


def test_finished_forget_and_statuses(store: Store) -> None:
    for name in "abc":
        store.record(cell(name), [ScoreRecord(metric="r2", value=1.0)], units(2))
    assert store.finished(iter(["a", "c", "unknown"])) == {"a", "c"} and store.finished([]) == set()
    store.forget(["a", "unknown"])
    assert store.statuses() == {"b": "finished", "c": "finished"}
    assert set(store.scores()["cell_id"]) == {"b", "c"} and store.units("a").empty


def test_scores_of_one_metric_in_two_parameters_and_panels_stand_side_by_side(store: Store) -> None:
    kinds: list[dict[str, Any]] = [{}, {"params": {"k": 1}}, {"panel": "p"}, {"version": 2}]
    store.record(cell(), [ScoreRecord(metric="win_rate", value=0.5, **kind) for kind in kinds])
    assert len(store.scores(metric="win_rate")) == 4
    with pytest.raises(StoreError, match=r"two scores win_rate@1 with the parameters {\"k\":1}"):
        store.record(cell(), [ScoreRecord(metric="win_rate", value=0.5, params={"k": 1})] * 2)
    assert len(store.scores()) == 4


def test_a_score_without_an_evaluation_set_has_its_cells(store: Store) -> None:
    other_set = ScoreRecord(metric="own", value=1.0, evaluation_fingerprint="e2")
    store.record(cell(evaluation_fingerprint="e1"), [ScoreRecord(metric="cells", value=1.0), other_set])
    assert store.scores().set_index("metric")["evaluation_fingerprint"].to_dict() == {"cells": "e1", "own": "e2"}


def test_runs_say_how_they_ended_and_what_they_did(store: Store) -> None:
    store.start_run(RunRecord(run_id="r", suite="demo", versions={"torch": "2.9"}, n_planned=3))
    store.record(cell("a", run_id="r"))
    store.record(cell("b", run_id="r", status="failed"))
    assert store.runs()["status"][0] == "running" and store.runs()["ended_at"].isna().all()
    store.end_run("r", "interrupted")
    (run,) = store.runs().to_dict("records")
    assert (run["status"], run["n_finished"], run["n_failed"], run["n_planned"]) == ("interrupted", 1, 1, 3)
    assert run["ended_at"] >= run["started_at"] and run["versions"] == {"torch": "2.9"}
    with pytest.raises(StoreError, match="'done'"):
        store.end_run("r", "done")


def test_images_are_idempotent(store: Store) -> None:
    frame = pd.DataFrame({"index": [1, 0], "name": ["b", "a"], "label": [0, 1], "class_name": ["cat", None]})
    store.record_images("split", frame)
    store.record_images("split", frame)
    assert store.images("split")["name"].tolist() == ["a", "b"] and store.images("other").empty
    with pytest.raises(StoreError, match="index twice"):
        store.record_images("split", pd.DataFrame({"index": [0, 0]}))


# Refusals


def test_wrong_records_are_refused_in_a_sentence() -> None:
    with pytest.raises(StoreError, match=r"CellRecord.status is 'done'; it must be one of 'finished', 'failed'"):
        cell(status="done")
    with pytest.raises(StoreError, match=r"ScoreRecord.direction is 'up'"):
        ScoreRecord(metric="r2", value=1.0, direction="up")
    with pytest.raises(StoreError, match="without a time zone"):
        cell(started_at=datetime(2026, 1, 1))  # noqa: DTZ001 - the naive datetime is the point


def test_wrong_units_and_config_leave_the_old_cell_as_it_was(store: Store) -> None:
    store.record(cell(), [ScoreRecord(metric="r2", value=1.0)], units(4))
    with pytest.raises(StoreError, match=r"unknown columns \['colour'\]"):
        store.record(cell(), [], units(4).assign(colour=1))
    with pytest.raises(StoreError, match="lacks the column 'unit'"):
        store.record(cell(), [], units(4).drop(columns="unit"))
    with pytest.raises(StoreError, match=r"Nothing was written to the results store .*many"):
        store.record(cell(), [], pd.DataFrame({"unit": [0], "fires": ["many"]}))
    with pytest.raises(StoreError, match="The column 'top_image' of the units frame"):
        store.record(cell(), [], pd.DataFrame({"unit": [0], "top_image": [["first"]]}))
    with pytest.raises(StoreError, match="type object cannot be kept as JSON"):
        store.record(cell(identity={"x": object()}))
    assert len(store.units("cell-a")) == 4 and len(store.scores()) == 1


def test_a_read_only_store_refuses_to_write(store: Store) -> None:
    reader = open_store(store.path)
    for write in (
        lambda: reader.record(cell()),
        lambda: reader.start_run(RunRecord(run_id="r")),
        lambda: reader.end_run("r"),
        lambda: reader.forget(["a"]),
        lambda: reader.record_images("f", pd.DataFrame({"index": [0]})),
    ):
        with pytest.raises(StoreError, match="opened read-only; open it with read_only=False"):
            write()
    with pytest.raises(StoreError, match="could not answer the query"):
        reader.query("DELETE FROM cells")


def test_a_wrong_query_is_a_store_error_and_finds_no_python_variable(store: Store) -> None:
    local_frame = pd.DataFrame({"x": [1]})
    with pytest.raises(StoreError, match="local_frame"):
        store.query("SELECT * FROM local_frame")
    assert len(local_frame) == 1


def test_reading_where_there_is_no_store_yet(tmp_path: Path) -> None:
    reader = open_store(tmp_path / "nowhere" / "results.duckdb")
    assert not reader.exists() and reader.finished(["a"]) == set() and reader.statuses() == {}
    with pytest.raises(StoreError, match=r"There is no results store at .*`harness run` makes one"):
        reader.cells()
    assert not (tmp_path / "nowhere").exists()


def test_writing_makes_the_folders(tmp_path: Path) -> None:
    store = open_store(tmp_path / "a" / "b" / "results.duckdb", read_only=False)
    assert store.exists() and store.cells().empty


@pytest.mark.parametrize("read_only", [True, False])
def test_files_that_are_no_store(tmp_path: Path, read_only: bool) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database " * 1000)
    empty = tmp_path / "empty.duckdb"
    empty.touch()
    other = tmp_path / "other.duckdb"
    duckdb.connect(str(other)).close()
    for path, sentence in (
        (text, "not a DuckDB file"),
        (empty, "not a DuckDB file"),
        (other, "is a DuckDB database but not a results store"),
        (tmp_path, "is a folder, not a results store"),
    ):
        with pytest.raises(StoreError, match=sentence):
            open_store(path, read_only).query("SELECT 1")
    with duckdb.connect(str(other)) as opened:
        assert opened.execute("SELECT count(*) FROM duckdb_tables()").fetchone() == (0,)


def test_a_place_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"The folder .* cannot be made \(.*\); point --store"):
        open_store(tmp_path / "file" / "results.duckdb", read_only=False)
    # The tests may run as root, whom no permission stops: let DuckDB say what it says to others.

    def refuse(*args: object, **kwargs: object) -> None:
        raise duckdb.IOException(f'Cannot open file "{args[0]}": Permission denied')

    store = open_store(tmp_path / "results.duckdb", read_only=False)
    monkeypatch.setattr(connection, "attach", refuse)
    with pytest.raises(StoreError, match=r"cannot be written \(.*Permission denied\); point --store"):
        store.record(cell())
    with pytest.raises(StoreError, match="may not be read by this user"):
        store.query("SELECT 1")


# Size and weight


def test_a_hundred_thousand_units_are_quick(store: Store) -> None:
    frame = units(100_000, top=9)
    started = time.monotonic()
    store.record(cell(), units=frame)
    inserted = time.monotonic()
    stored = store.units("cell-a")
    read = time.monotonic()
    assert len(stored) == 100_000
    assert stored["top_value"][99_999].tolist() == frame["top_value"][99_999].tolist()
    assert inserted - started < 10.0 and read - inserted < 5.0


def test_importing_results_is_light_and_a_reader_needs_no_torch() -> None:
    body = """
        import results
        assert not {"pandas", "numpy", "duckdb", "torch"} & set(sys.modules), "import results"
        from results import leaderboard, open_store, pareto_front
        import results.boards.build
        from results import leaderboard as still
        assert callable(still) and still is leaderboard
        open_store("unused").exists()
        assert not {"torch", "harness", "methods", "judges"} & set(sys.modules)
    """
    process = subprocess.run([sys.executable, "-c", "import sys\n" + textwrap.dedent(body)], cwd=ROOT, text=True)
    assert process.returncode == 0


def test_the_published_tables_are_all_there() -> None:
    assert sorted(published_tables()) == list(range(1, 10))
    table = published_table(2).set_index(["backbone", "method"])
    assert table.loc[("DINOv2 ViT-B/14", "ELUDe"), "ms_score_pct"] == 64.85
    assert len(table) == 20 and len(published_table(3)) == 20
    with pytest.raises(StoreError, match="no published table 10; use one of 1, 2"):
        published_table(10)
