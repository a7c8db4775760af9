"""Division of fits among workers: which fits, into which parts, and what happens when a part fails. Without Ray."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_ray import FakeRay, LostError, TaskError
from small_runs import suite_of

from harness.cells.divided_fit import DividedFit, PartFit, joined
from harness.cells.fit import SavedFit
from harness.cells.fit_cost import FIT_MEMORY
from harness.cells.fit_evidence import GRADIENTS, FitEvidence
from harness.cells.plan import Cell, cells_of, prepare
from harness.cells.run_cell import CellContext, CellResult, Failure, work_dir
from harness.executors import part_progress, worker
from harness.executors.base import TargetWork, Work
from harness.executors.division import ranges
from harness.executors.part_progress import progress_of, reporting_part
from harness.executors.ray import _cells_that_fit
from harness.executors.ray_dispatch import Cluster, Dispatch
from harness.progress import Silent
from harness.suites import Suite
from methods.elude.method import ELUDe
from results import ScoreRecord

pytestmark = pytest.mark.run


def test_ranges_cover_the_items_and_differ_by_one() -> None:
    for n_items in (1, 2, 7, 48, 768):
        for n_parts in (1, 2, 3, 5, 1000):
            parts = ranges(n_items, n_parts)
            assert [item for part in parts for item in part] == list(range(n_items))
            assert len(parts) == min(n_items, n_parts)
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("node", "threads", "share", "cells"),
    [
        ({"CPU": 8.0}, 3, 0.0, 2),
        ({"CPU": 8.0, "GPU": 2.0}, 1, 1.0, 2),
        ({"CPU": 8.0, "GPU": 2.0}, 1, 0.1, 8),
        ({"CPU": 64.0, "GPU": 1.0}, 1, 0.1, 10),
        ({"CPU": 8.0}, 1, 1.0, 0),
        ({}, 1, 0.0, 0),
    ],
)
def test_the_cells_that_fit_on_a_machine(node: dict[str, float], threads: int, share: float, cells: int) -> None:
    assert _cells_that_fit(node, threads, share) == cells


# ---- progress of parts


def test_progress_is_summed_over_the_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = ranges(10, 3)
    assert progress_of(tmp_path / "missing", parts) is None
    for part in parts[:2]:
        reporting_part(tmp_path, part)(1, len(part), "neurons split")
    assert progress_of(tmp_path, parts) == (2, 6, "neurons split")
    report = reporting_part(tmp_path, parts[2])
    report(1, 4, "neurons split")
    report(2, 4, "neurons split")
    assert progress_of(tmp_path, parts) == (3, 10, "neurons split"), "written every few seconds"
    report(4, 4, "neurons split")
    assert progress_of(tmp_path, parts) == (6, 10, "neurons split"), "the end is always written"
    reporting_part(tmp_path, parts[1])(0, 99, "images")
    assert progress_of(tmp_path, parts) == (5, 7, "neurons split"), "another quantity is not added"
    assert all(file.name.startswith(".") for file in tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"a": 1}', '["x", 2, "y"]', "[" * 900, "\x00"])
def test_a_progress_file_of_others_is_left_out(tmp_path: Path, content: str) -> None:
    parts = ranges(4, 2)
    reporting_part(tmp_path, parts[0])(1, 2, "neurons split")
    (tmp_path / f".progress-{parts[1].start}").write_text(content)
    assert progress_of(tmp_path, parts) == (1, 2, "neurons split")


def test_a_folder_that_cannot_be_written_stops_no_part(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    reporting_part(tmp_path / "file", range(3))(3, 3, "neurons split")
    assert part_progress.progress_of(tmp_path / "file", [range(3)]) is None


# ---- files of other machines


def test_the_cell_waits_for_files_that_are_listed_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listings = [(), ("a",), ("a", "b", "c")]
    monkeypatch.setattr(worker, "complete_files", lambda folder: listings.pop(0))
    worker._wait_for_files(tmp_path, ("a", "b"))
    assert listings == []


def test_it_waits_for_lost_files_for_a_while_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PATIENCE_S", 0.3)
    begun = time.monotonic()
    worker._wait_for_files(tmp_path / "missing", ("a",))
    assert 0.3 <= time.monotonic() - begun < 5
    worker._wait_for_files(tmp_path / "missing", ())


# ---- evidence


def evidence(steps: int, memory: float | None) -> tuple[ScoreRecord, ...]:
    records = FitEvidence(steps, steps, 0, 1, alone=True).records()
    if memory is None:
        return records
    return (*records, ScoreRecord(metric=FIT_MEMORY, value=memory, n=1, unit="MB", direction="lower"))


def test_times_and_counts_are_added_and_the_largest_memory_is_kept() -> None:
    parts = [PartFit(2.0, evidence(3, 70.0), ("a", "b")), PartFit(5.0, evidence(4, 90.0), ("b", "c"))]
    fit = DividedFit.of(parts, resumed=False)
    assert (fit.n_parts, fit.seconds, fit.files) == (2, 7.0, ("a", "b", "c"))
    values = {record.metric: record.value for record in fit.evidence}
    assert values[GRADIENTS] == 7 and values[FIT_MEMORY] == 90.0
    assert DividedFit.of(parts, resumed=True).seconds is None
    without = joined(evidence(1, 5.0), evidence(1, None))
    assert FIT_MEMORY not in {record.metric for record in without}, "the peak of a part that is not known may be larger"


# ---- dispatch


class Listening(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []
        self.lines: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    def progress(self, done: int, total: int, what: str) -> None:
        self.lines.append(what)


class Setting:
    """A suite on the tiny network, and the tasks that a cluster would be given."""

    def __init__(self, photo_folder: Path, folder: Path, *names: str, **changes: Any) -> None:
        changes = {"seeds": {"tokens": [1]}, **changes}
        self.suite: Suite = suite_of(photo_folder, *names, **changes)
        self.folder = folder
        [self.target] = prepare(self.suite, device="cpu")
        self.cells = tuple(cells_of(self.suite, [self.target]))
        self.listening = Listening()
        self.saved: Callable[[Cell], tuple[SavedFit, ...]] = lambda cell: ()
        self.ray: FakeRay

    def run(
        self, answer: Callable[[Any, tuple[Any, ...]], Any], *, slots: int = 1, fit_parts: int | None = None
    ) -> list[CellResult]:
        context = CellContext("run", "s", "cpu", self.folder)
        work = Work(
            self.suite, (TargetWork(self.target, self.cells),), "auto", context, self.folder, self.folder / "m",
            self.listening, lambda: None, self.saved,
        )  # fmt: skip

        def with_target(function: Any, arguments: tuple[Any, ...]) -> Any:
            return worker.Answer({}, 10) if function is worker.open_target else answer(function, arguments)

        self.ray = FakeRay(with_target)
        cluster = Cluster(1, 8, 2**40, slots, 1, 0.0, slots=slots, fit_parts=fit_parts)
        events = list(Dispatch(self.ray, cluster, work, 1).events())
        return [event for event in events if isinstance(event, CellResult)]

    @property
    def parts(self) -> list[range]:
        return [arguments[3] for function, arguments in self.ray.calls if function is worker.compute_part]

    @property
    def divided(self) -> list[DividedFit | None]:
        return [arguments[4] for function, arguments in self.ray.calls if function is worker.compute]


def computing(function: Any, arguments: tuple[Any, ...]) -> Any:
    """Answer as workers that finish parts in two seconds, and whose cells end with a failure by name."""
    if function is worker.compute_part:
        return PartFit(2.0, evidence(0, 1.0), (f"{arguments[3].start}",))
    return Failure("Odd", "computed", "")


@pytest.mark.parametrize(("slots", "fit_parts", "n_parts"), [(3, None, 3), (1, None, 0), (1, 4, 4), (3, 1, 0)])
def test_idle_workers_or_the_option_decide_the_number_of_parts(
    photo_folder: Path, tmp_path: Path, slots: int, fit_parts: int | None, n_parts: int
) -> None:
    setting = Setting(photo_folder, tmp_path, "elude")
    [result] = setting.run(computing, slots=slots, fit_parts=fit_parts)
    assert result.record.error_message == "computed"
    assert [item for part in setting.parts for item in part] == list(range(setting.target.site.d_out if n_parts else 0))
    assert len(setting.parts) == n_parts and setting.ray.most <= slots
    [divided] = setting.divided
    assert (divided is None) == (n_parts == 0)
    if divided is not None:
        assert (divided.n_parts, divided.seconds) == (n_parts, 2.0 * n_parts)
        assert any(f"ELUDe (part 1 of {n_parts})" in line for line in setting.listening.lines)


def test_other_cells_come_before_parts(photo_folder: Path, tmp_path: Path) -> None:
    """Two workers have two cells: dividing one of them would only cost time."""
    setting = Setting(photo_folder, tmp_path, "elude", "identity")
    setting.run(computing, slots=2)
    assert setting.parts == [] and setting.divided == [None, None]
    setting.run(computing, slots=4)
    assert len(setting.parts) == 2
    others = Setting(photo_folder, tmp_path, "identity", "pca")
    others.run(computing, slots=9, fit_parts=9)
    assert others.parts == [], "not every fit divides"


def test_a_cell_with_the_same_fit_waits_for_the_divided_one(photo_folder: Path, tmp_path: Path) -> None:
    setting = Setting(photo_folder, tmp_path, "elude")
    [cell] = setting.cells
    # The same cell with other metrics needs the same fit.
    evaluation = setting.suite.evaluation.model_copy(update={"metrics": ("r2",)})
    [twin] = cells_of(setting.suite.model_copy(update={"evaluation": evaluation}), [setting.target])
    assert twin.fit_id == cell.fit_id and twin.cell_id != cell.cell_id
    setting.cells = (cell, twin)
    setting.run(computing, slots=2)
    called = [(function.__name__, arguments[2]) for function, arguments in setting.ray.calls[1:]]
    assert called == [*[("compute_part", cell.cell_id)] * 2, ("compute", cell.cell_id), *called[3:]]
    assert [name for _, name in called[3:]] and {name for _, name in called[3:]} == {twin.cell_id}


def test_a_fit_that_the_store_has_is_not_divided(photo_folder: Path, tmp_path: Path) -> None:
    setting = Setting(photo_folder, tmp_path, "elude")
    setting.saved = lambda cell: (SavedFit("other", cell.fit_id, "artifacts/x", 1.0, ()),)
    setting.run(computing, slots=3, fit_parts=3)
    assert setting.parts == [] and setting.divided == [None]


def test_a_part_that_raises_fails_the_cell_and_ends_the_others(photo_folder: Path, tmp_path: Path) -> None:
    def answer(function: Any, arguments: tuple[Any, ...]) -> Any:
        if function is worker.compute_part and arguments[3].start > 0:
            return Failure("ValueError", "the second part cannot be computed", "")
        return computing(function, arguments)

    setting = Setting(photo_folder, tmp_path, "elude", "identity")
    results = setting.run(answer, slots=3, fit_parts=6)
    by_method = {result.record.method: result.record.error_message for result in results}
    assert by_method == {"elude": "the second part cannot be computed", "identity": "computed"}
    assert len(setting.parts) == 4, "a part that was not begun is dropped"
    assert setting.ray.cancelled and setting.ray.flying == 0
    assert setting.divided == [None], "the cell of elude was not joined"


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_part_whose_worker_dies_is_repeated(photo_folder: Path, tmp_path: Path, deaths: int) -> None:
    left = [deaths]

    def answer(function: Any, arguments: tuple[Any, ...]) -> Any:
        if function is worker.compute_part and arguments[3].start == 0 and left[0]:
            left[0] -= 1
            raise LostError("gone")
        return computing(function, arguments)

    setting = Setting(photo_folder, tmp_path, "elude")
    [result] = setting.run(answer, slots=2)
    [said] = setting.listening.said[1:]
    assert "part 1 of 2: its result was lost (" in said and "Attempt 2 of 2 follows" in said
    if deaths == 2:
        message = str(result.record.error_message)
        assert message.startswith("Given up after 2 attempts: ") and setting.divided == []
        return
    assert len(setting.parts) == 3
    [divided] = setting.divided
    assert divided is not None and divided.n_parts == 2 and divided.seconds is None, "the lost time is not known"


def test_a_machine_without_the_program_costs_an_attempt(photo_folder: Path, tmp_path: Path) -> None:
    left = [1]

    def answer(function: Any, arguments: tuple[Any, ...]) -> Any:
        if left[0]:
            left[0] -= 1
            raise TaskError("No module named harness")
        return computing(function, arguments)

    setting = Setting(photo_folder, tmp_path, "elude")
    setting.run(answer, slots=2)
    assert len(setting.parts) == 3 and len(setting.divided) == 1


def test_the_time_of_a_resumed_fit_is_not_known(photo_folder: Path, tmp_path: Path) -> None:
    setting = Setting(photo_folder, tmp_path, "elude")
    folder = work_dir(tmp_path, setting.cells[0].cell_id)
    folder.mkdir(parents=True)
    (folder / "units-000000.safetensors").write_bytes(b"of an earlier run")
    setting.run(computing, slots=2)
    [divided] = setting.divided
    assert divided is not None and divided.seconds is None


@pytest.mark.parametrize("answer", ["many", True, None, RuntimeError("who knows")])
def test_a_method_that_cannot_tell_is_fitted_as_a_whole(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    def fit_items(config: Any, site: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    setting = Setting(photo_folder, tmp_path, "elude")
    monkeypatch.setattr(ELUDe, "fit_items", staticmethod(fit_items))
    setting.run(computing, slots=2)
    assert setting.parts == [] and setting.divided == [None]
    [said] = setting.listening.said[1:]
    assert said.startswith("  The fit of ELUDe is not divided: ") and ("who knows" in said or "whole number" in said)


def test_progress_of_the_units_is_in_the_line(photo_folder: Path, tmp_path: Path) -> None:
    setting = Setting(photo_folder, tmp_path, "elude")
    folder = work_dir(tmp_path, setting.cells[0].cell_id)

    def answer(function: Any, arguments: tuple[Any, ...]) -> Any:
        if function is worker.compute_part:
            reporting_part(folder, arguments[3])(5, len(arguments[3]), "neurons split")
        return computing(function, arguments)

    setting.run(answer, slots=3)
    n = setting.target.site.d_out
    part = len(ranges(n, 3)[0])
    assert any(f"ELUDe: 5 of {part} neurons split" in line for line in setting.listening.lines)
