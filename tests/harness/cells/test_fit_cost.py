"""Time and memory of a fit: what is measured, what is recorded, and what is left out."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import suite_of

import methods
from harness import devices
from harness.cells import fit_cost
from harness.cells.fit import RESUMED
from harness.cells.fit_cost import FIT_MEMORY, FitCost, cost_of
from harness.efficiency.memory import Peak
from harness.run import run
from harness.suites import Suite
from methods.base import Device, LinearSite, Progress, Tokens, no_progress
from methods.identity import Identity
from results import leaderboard, open_store

pytestmark = pytest.mark.run

MEGABYTES = 60


class Hungry(Identity):
    """The backbone's units, found with much memory."""

    spec = Identity.spec._replace(name="hungry", title="hungry")

    def fit(
        self,
        tokens: Tokens,
        site: LinearSite,
        *,
        seed: int = 42,
        device: Device = "cpu",
        progress: Progress = no_progress,
    ) -> Hungry:
        work = torch.ones(MEGABYTES * 250_000)
        super().fit(tokens, site, seed=seed, device=device, progress=progress)
        assert float(work[-1]) == 1
        if self.work_dir is not None and (stop := self.work_dir.parent.parent / "stop").exists():
            stop.unlink()
            self.work_dir.mkdir(parents=True, exist_ok=True)
            (self.work_dir / "half").write_text("done")
            signal.raise_signal(signal.SIGINT)  # as Ctrl-C; one that the method raises is its failure
        return self


@pytest.fixture(autouse=True)
def hungry() -> Iterator[None]:
    methods.METHODS.entries.pop("hungry", None)
    methods.register(Hungry)
    yield
    methods.METHODS.entries.pop("hungry")


def suite(folder: Path, *names: str, **evaluation: Any) -> Suite:
    settings = {"top_images": 6, "batch_size": 6, "metrics": ["r2"], **evaluation}
    return suite_of(folder, *names, seeds={"tokens": [1]}, evaluation=settings)


def test_the_peak_is_that_of_the_fit_and_the_time_is_of_the_fit_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow_peak(run: Callable[[], object], device: torch.device, **_: Any) -> Peak:
        time.sleep(0.2)
        run()
        time.sleep(0.2)
        return Peak(3_000_000, "somehow")

    cost = cost_of(lambda: torch.ones(MEGABYTES * 250_000).sum(), "cpu")
    assert cost.memory is None or 0.8 * MEGABYTES <= cost.memory / 1e6 <= 3 * MEGABYTES
    monkeypatch.setattr(fit_cost, "peak_of", slow_peak)
    cost = cost_of(lambda: time.sleep(0.01), "cpu")
    assert 0.01 <= cost.seconds < 0.2
    record = cost.record(alone=True)
    assert record is not None and (record.metric, record.value, record.unit) == (FIT_MEMORY, 3.0, "MB")
    assert record.details == {"kind": "somehow", "device": devices.device_name("cpu")}


def test_on_a_gpu_it_is_what_torch_allocates_above_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backbone's weights lie on the device during a fit, and are not what the fit costs."""
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 350_000_000)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "H100")
    monkeypatch.setattr(fit_cost, "peak_of", lambda run, device, **_: (run(), Peak(1_350_000_000, "all"))[1])
    cost = cost_of(lambda: None, "cuda:0")
    assert (cost.memory, cost.device) == (1_000_000_000, "cuda (H100)")
    assert "torch" in cost.kind and "above" in cost.kind


@pytest.mark.parametrize(("memory", "alone"), [(None, True), (5, False)])
def test_what_cannot_be_measured_is_no_score(memory: int | None, alone: bool) -> None:
    assert FitCost(1.0, memory, "k", "cpu").record(alone=alone) is None


def test_every_run_has_time_and_memory_of_its_fits_and_a_loaded_fit_has_the_originals(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "r.duckdb"
    run(suite(photo_folder, "identity", "hungry"), store)
    run(suite(photo_folder, "hungry", metrics=["l0"]), store)
    [board] = leaderboard(open_store(store))
    columns = {column.metric: column for column in board.columns}
    assert columns["fit_seconds"].direction == columns[FIT_MEMORY].direction == "lower"
    assert columns["fit_seconds"].device and columns[FIT_MEMORY].device
    assert columns["fit_seconds"].params == {"threads": torch.get_num_threads()}
    scores = open_store(store).scores(metric=FIT_MEMORY).set_index("method")
    if len(scores):
        megabytes = scores["value"]
        assert megabytes["hungry"].nunique() == 1 and 0.8 * MEGABYTES < megabytes["hungry"].iloc[0] < 5 * MEGABYTES
        assert float(megabytes["identity"]) < 0.5 * MEGABYTES
        assert len(megabytes["hungry"]) == 2
    # On another device the memory would be misread, and it is left out; the evidence of the fit stays.
    monkeypatch.setattr(devices, "device_name", lambda device: "another")
    run(suite(photo_folder, "hungry", metrics=["alive_fraction"]), store)
    cells = open_store(store).cells()
    last = cells[cells["device"] == "another"]["cell_id"].item()
    metrics = set(open_store(store).scores(cell_id=last)["metric"])
    assert FIT_MEMORY not in metrics and "evidence_gradients" in metrics
    [board] = leaderboard(open_store(store), cell_ids=set(cells["cell_id"]))
    assert any("the fit was made on another device" in note for note in board.notes)


def test_the_time_of_a_resumed_fit_is_unknown(photo_folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "r.duckdb"
    (tmp_path / "stop").touch()
    run(suite(photo_folder, "hungry"), store)
    assert len(open_store(store).cells()) == 0, "it was stopped in the middle"
    run(suite(photo_folder, "hungry"), store)
    [cell] = open_store(store).cells().to_dict("records")
    assert cell["fit_seconds"] is None or cell["fit_seconds"] != cell["fit_seconds"]
    assert RESUMED in cell["notes"]
    [board] = leaderboard(open_store(store))
    assert "fit_seconds" not in {column.metric for column in board.columns}
