"""Results that wait beside a store: complete or not there, equal to the bit once they are taken in."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from results import CellRecord, RunRecord, ScoreRecord, Store, open_store
from results.errors import StoreError, StoreUnavailableError
from results.store import spool as spool_module
from results.store.cell_rows import CELL_TABLES, CellRows
from results.store.liveness import run_states
from results.store.merge import merge
from results.store.outcomes import ImageOutcome
from results.store.spool import readable, spool, spool_dir, spool_end, spooled, spooled_cells, take_in, waiting_sentence

NOW = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)


def cell(cell_id: str = "c1", *, started: datetime = NOW, run_id: str = "r1", status: str = "finished") -> CellRecord:
    return CellRecord(
        cell_id=cell_id, status=status, backbone="b", site="s", method="m", run_id=run_id, started_at=started,
        config={"k": 4, "text": "ü x"}, seconds=1.25, notes=("a", "b"), n_units=2,
    )  # fmt: skip


def rows(record: CellRecord, value: float = 0.5) -> CellRows:
    scores = [
        ScoreRecord(metric="r2", value=value, uncertainty=float("nan"), n=3, details={"a": [1, None]}),
        ScoreRecord(metric="odd", value=float("nan")),
        ScoreRecord(metric="missing", value=None),
    ]
    units = pd.DataFrame(
        {
            "unit": [0, 1],
            "ms_score": [0.25, float("nan")],
            "top_image": [np.array([3, 1], np.int32), None],
            "top_value": [np.array([0.5, float("nan")], np.float32), None],
        }
    )
    curves = pd.DataFrame({"series": ["loss", "loss"], "step": [0, 1], "value": [1.5, float("inf")]})
    outcome = ImageOutcome(np.array([True, False, True]), np.array([True, False, False]))
    return CellRows.of(record, scores, units, curves, {"accuracy": outcome})


def contents(store: Store) -> dict[str, str]:
    return {
        table: store.query(f"SELECT * FROM {table} ORDER BY ALL").to_json(date_format="iso", default_handler=str)
        for table in CELL_TABLES
    }


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "r.duckdb", read_only=False)


def test_what_waited_is_equal_to_what_is_recorded_directly(store: Store, tmp_path: Path) -> None:
    direct = open_store(tmp_path / "direct.duckdb", read_only=False)
    direct.put(rows(cell()), lambda present: False)
    images = pd.DataFrame({"index": [0, 1], "name": ["a", "b"], "label": [0, -1], "class_name": ["x", None]})
    direct.record_images("split", images)
    file = spool(store.path, rows(cell()), {"split": images})
    assert spooled(store.path) == [file] and spooled_cells(store.path) == {"c1"} and readable(store.path) == [file]
    assert "1 finished result waits" in str(waiting_sentence(store.path))
    taken = take_in(store)
    assert (taken.recorded, taken.kept, taken.damaged) == (["c1"], [], [])
    assert contents(store) == contents(direct)
    assert store.query("SELECT * FROM images ORDER BY ALL").equals(direct.query("SELECT * FROM images ORDER BY ALL"))
    assert not spool_dir(store.path).exists() and waiting_sentence(store.path) is None
    assert take_in(store) == ([], [], [])


@pytest.mark.parametrize(
    ("seconds", "status", "kept"),
    [(1, "finished", 1.0), (-1, "finished", 0.5), (1, "failed", 1.0), (-1, "failed", 1.0)],
)
def test_the_later_finished_result_stays(store: Store, seconds: int, status: str, kept: float) -> None:
    """The result in the store began `seconds` after the one that waits, which has the status."""
    present = cell(started=NOW + timedelta(seconds=seconds), run_id="other")
    store.put(rows(present, 1.0), lambda _: False)
    spool(store.path, rows(cell(status=status)))
    take_in(store)
    assert store.query("SELECT value FROM scores WHERE metric = 'r2'")["value"].tolist() == [kept]
    assert not spooled(store.path)


@pytest.mark.parametrize("damage", ["text", "empty", "cut", "zeros", "other", "no cell"])
def test_a_damaged_file_is_set_aside_and_the_others_are_taken_in(store: Store, damage: str) -> None:
    bad = spool(store.path, rows(cell("a1")))
    spool(store.path, rows(cell("b1")))
    content = bad.read_bytes()
    middle = len(content) // 2
    if damage == "other":
        bad.unlink()
        import duckdb

        with duckdb.connect(str(bad)) as opened:
            opened.execute("CREATE TABLE t (i INTEGER)")
    elif damage == "no cell":
        bad.unlink()
        open_store(bad, read_only=False)
    else:
        damaged = {"text": b"not a store", "empty": b"", "cut": content[:middle], "zeros": content[:5000]}
        bad.write_bytes(damaged[damage] + (b"\0" * (len(content) - 5000) if damage == "zeros" else b""))
    taken = take_in(store)
    assert taken.recorded == ["b1"] and len(taken.damaged) == 1
    assert "cannot be read (" in taken.damaged[0] and "is computed again" in taken.damaged[0]
    assert not spooled(store.path) and store.statuses() == {"b1": "finished"}
    assert bad.with_name("a1.r1.damaged").exists()


def test_a_kill_while_a_result_is_written_leaves_nothing_that_counts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(CellRows, "write", die)
    with pytest.raises(Killed):
        spool(store.path, rows(cell()))
    assert spooled(store.path) == []


def test_a_folder_that_cannot_be_written_is_unavailable_and_a_value_that_does_not_fit_is_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = dataclasses.replace(rows(cell()), units=pd.DataFrame({"unit": [0], "nothing": [1]}))
    with pytest.raises(StoreError, match="unknown columns"):
        spool(store.path, odd)
    spool_dir(store.path).rmdir()
    spool_dir(store.path).write_text("a file in its place")
    with pytest.raises(StoreUnavailableError, match=r"cannot be written to .*spool"):
        spool(store.path, rows(cell()))
    assert spooled(store.path) == []


def test_the_end_of_a_run_waits_too(store: Store) -> None:
    store.start_run(RunRecord(run_id="r1", n_planned=1))
    spool_end(store.path, "r1", "interrupted")
    (spool_dir(store.path) / "odd.ended").write_text(json.dumps(["finished"]))
    assert [state.state for state in run_states(store)] == ["died"]
    take_in(store)
    assert [state.state for state in run_states(store)] == ["interrupted"] and not spool_dir(store.path).exists()


def test_results_that_wait_can_be_merged(store: Store, tmp_path: Path) -> None:
    store.put(rows(cell("a1")), lambda _: False)
    spool(store.path, rows(cell("b1")))
    merged = merge(tmp_path / "all.duckdb", [store.path, *readable(store.path)])
    assert merged.cells == 2 and len(spooled(store.path)) == 1


def test_a_store_in_use_keeps_everything_waiting(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    spool(store.path, rows(cell()))

    def busy(*_: object) -> None:
        raise StoreUnavailableError("in use", "process 1")

    monkeypatch.setattr(spool_module.Store, "put", busy)
    with pytest.raises(StoreUnavailableError):
        take_in(store)
    assert len(spooled(store.path)) == 1


def test_links_are_not_followed(store: Store, tmp_path: Path) -> None:
    """Links that come with a store could lead to other stores of the reader, which would be taken in and deleted."""
    others = tmp_path / "others"
    others.mkdir()
    mine = open_store(others / "mine.duckdb", read_only=False)
    mine.put(rows(cell("mine")), lambda present: False)
    (others / "notes.ended").write_text("text")
    spool_dir(store.path).symlink_to(others)
    assert spooled(store.path) == [] and take_in(store) == ([], [], [])
    with pytest.raises(StoreUnavailableError, match="link"):
        spool(store.path, rows(cell()))
    with pytest.raises(OSError, match="link"):
        spool_end(store.path, "r1", "finished")
    assert {path.name for path in others.glob("[!.]*")} >= {"mine.duckdb", "notes.ended"}
    spool_dir(store.path).unlink()
    spool_dir(store.path).mkdir()
    (spool_dir(store.path) / "mine.r1.duckdb").symlink_to(mine.path)
    assert spooled(store.path) == [] and take_in(store) == ([], [], []) and store.statuses() == {}


def test_a_whole_store_in_the_folder_is_set_aside(store: Store) -> None:
    file = spool(store.path, rows(cell("c1")))
    Store(file, read_only=False).put(rows(cell("c2")), lambda present: False)
    [sentence] = take_in(store).damaged
    assert "one cell" in sentence and file.with_suffix(".damaged").is_file() and store.statuses() == {}
