"""Cells of the worker: the same effects as `harness.steering.steer`, which cells are offered, and what is in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import UserError
from harness.steering import SteerSettings, label_units, steer
from harness.steering.kept_effects import kept_result
from harness.steering.steer_request import SteerRequest
from harness.steering.steered import Steered, SteeredImage
from harness.steering.worker_cells import MOST_CLASSES, MOST_OPEN, WorkerCells, _mean_classes
from harness.suites import Suite
from results import Store, open_store

pytestmark = pytest.mark.run

SETTINGS = SteerSettings(amplify=("concept 03",), kappa=4, nu=None, matcher="words")


@pytest.fixture(scope="module")
def labelled(planted: tuple[Store, Suite]) -> tuple[Store, Suite, dict[str, str]]:
    store, suite = planted
    cells = label_units(store, suite, scorers=("classes",))
    return store, suite, {cell.label: cell.cell_id for cell in cells}


Labelled = tuple[Store, Suite, dict[str, str]]


def some_image(store: Store, cell_id: str) -> str:
    frame = store.query(
        "SELECT i.name FROM images i JOIN cells c ON i.dataset = c.evaluation_fingerprint WHERE c.cell_id = ? "
        'ORDER BY i."index" LIMIT 1 OFFSET 2',
        [cell_id],
    )
    return str(frame["name"][0])


def test_the_effect_is_that_of_the_function(labelled: Labelled) -> None:
    store, suite, cells = labelled
    image = some_image(store, cells["truth"])
    expected = steer(store, suite, cells["truth"], SETTINGS, images=[image])
    made = WorkerCells(store, suite, device="cpu").steer(SteerRequest(cells["truth"], SETTINGS, (image,)))
    assert {name: made[name] for name in kept_result(expected)} == kept_result(expected)
    assert made["cell"] == cells["truth"] and made["matcher"] == expected.matcher
    before = dict(zip(expected.classes, expected.mean("before"), strict=True))
    assert made["classes"] and all(each["before"] == before[each["name"]] for each in made["classes"])
    assert json.loads(json.dumps(made))["images"][0]["name"] == image


def test_the_cells_with_a_fit_are_listed_with_their_scorers(labelled: Labelled, tmp_path: Path) -> None:
    store, suite, cells = labelled
    listed = {cell["cell_id"]: cell for cell in WorkerCells(store, suite).listed()}
    assert {listed[cell_id]["label"] for cell_id in cells.values()} == set(cells)
    assert listed[cells["truth"]]["scorers"] == ["classes"]
    # Beside another copy of the store there are no fits; virtual methods and failed cells are no choice either.
    (tmp_path / "r.duckdb").write_bytes(store.path.read_bytes())
    assert WorkerCells(open_store(tmp_path / "r.duckdb"), suite).listed() == []


@pytest.mark.parametrize(
    "change", ["status = 'failed'", "artifact = NULL", "artifact = '../../x'", """claims = '{"virtual": true}'"""]
)
def test_cells_that_cannot_be_steered_are_refused(labelled: Labelled, tmp_path: Path, change: str) -> None:
    store, suite, cells = labelled
    (tmp_path / "r.duckdb").write_bytes(store.path.read_bytes())
    (tmp_path / "artifacts").symlink_to(store.path.parent / "artifacts")
    with open_store(tmp_path / "r.duckdb", read_only=False).writing() as connection:
        connection.execute(f"UPDATE cells SET {change} WHERE cell_id = ?", [cells["truth"]])
    worker = WorkerCells(open_store(tmp_path / "r.duckdb"), suite, device="cpu")
    assert cells["truth"] not in {cell["cell_id"] for cell in worker.listed()}
    with pytest.raises(UserError, match="cannot be steered"):
        worker.steer(SteerRequest(cells["truth"], SETTINGS, ("a",)))


def test_the_last_cells_stay_in_memory(labelled: Labelled, monkeypatch: pytest.MonkeyPatch) -> None:
    store, suite, cells = labelled
    worker = WorkerCells(store, suite, device="cpu")
    opened: list[str] = []
    monkeypatch.setattr(worker, "_open", lambda cell_id: opened.append(cell_id) or f"opened {cell_id}")
    a, b, c = list(cells.values())[:3]
    assert MOST_OPEN == 2
    for cell_id in (a, a, b, a, c, a, b):
        assert worker._cell(cell_id) == f"opened {cell_id}"
    # c took the place of b, which was used longest ago; then b that of c.
    assert opened == [a, b, c, b]
    with store.writing() as connection:
        connection.execute("UPDATE cells SET started_at = started_at + INTERVAL 1 SECOND WHERE cell_id = ?", [b])
    worker._cell(b)
    assert opened[-1] == b and len(opened) == 5


def test_one_that_cannot_be_opened_leaves_no_trace(labelled: Labelled, monkeypatch: pytest.MonkeyPatch) -> None:
    store, suite, cells = labelled
    worker = WorkerCells(store, suite)

    def fail(cell_id: str) -> Any:
        raise UserError("no")

    monkeypatch.setattr(worker, "_open", fail)
    for _ in range(2):
        with pytest.raises(UserError, match="no"):
            worker._cell(cells["truth"])
    with pytest.raises(UserError, match="There is no cell 'nowhere'"):
        worker._cell("nowhere")


def test_the_classes_are_those_with_the_largest_changes_and_probabilities() -> None:
    n = 100
    before, after = np.full(n, 1 / n), np.full(n, 1 / n)
    before[7], after[3], before[50], after[50] = 0.3, 0.4, 0.2, 0.2
    classes = tuple(f"class {number}" for number in range(n))
    image = SteeredImage(0, "a", tuple(before), tuple(after), tuple(before), 0.0, 0.0, ())
    steered = Steered("c", "m", "l", SETTINGS, "words", (), classes, (image,), 4)
    chosen = _mean_classes(steered)
    assert len(chosen) == MOST_CLASSES and {"class 3", "class 7", "class 50"} <= {each["name"] for each in chosen[:5]}
    assert len({each["name"] for each in chosen}) == MOST_CLASSES
