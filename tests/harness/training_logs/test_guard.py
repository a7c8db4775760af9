"""Guard of a training log: whatever a logger does, the fit goes on with the same random numbers and settings."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.errors import UserError
from harness.training_logs import TRAINING_LOGS, LoggedRun, TrainingLog, require
from harness.training_logs import guard as guard_module
from harness.training_logs.guard import GuardedLog
from methods.interrupts import interrupting
from methods.plugin_errors import failing_threads


class FakeLog(TrainingLog):
    """Keeps its calls; ``act`` runs in the call named ``at``."""

    name = "fake"
    description = "for tests"
    calls: list[tuple[object, ...]]
    at = ""

    @staticmethod
    def act() -> None: ...

    def _note(self, name: str, *arguments: object) -> None:
        type(self).calls.append((name, *arguments))
        if name == self.at:
            self.act()

    def open(self, run: LoggedRun) -> None:
        self._note("open", run.name)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._note("log", step, dict(values))

    def summarise(self, scores: Mapping[str, float]) -> None:
        self._note("summarise", dict(scores))

    def close(self, *, failed: bool) -> None:
        self._note("close", failed)


@pytest.fixture
def fake() -> Iterator[type[FakeLog]]:
    logger: type[FakeLog] = type("Fake", (FakeLog,), {"calls": []})
    TRAINING_LOGS.add("fake", logger)
    guard_module._switched_off.clear()
    yield logger
    del TRAINING_LOGS.entries["fake"]
    guard_module._switched_off.clear()


def guarded(run: str = "run") -> GuardedLog:
    return GuardedLog("fake", LoggedRun("a, b, seed 1", "id", {}, Path("nowhere")), harness_run=run)


def all_calls(log: GuardedLog) -> None:
    log.open()
    log.on_metrics(1, {"loss": 0.5})
    log.finish({"loss": [(1, 0.5), (2, 0.25)]}, {"r2": 0.75})


def test_points_are_passed_once_and_the_rest_of_the_curves_follows(fake: type[FakeLog]) -> None:
    log = guarded()
    log.open()
    log.on_metrics(2, {"loss": 0.5})
    log.on_metrics(2, {"loss": 9.0, "l0": 3.0})
    log.finish({"loss": [(1, 0.75), (2, 0.5)], "dead": [(2, 0.0)]}, {"r2": 0.75, "none": float("nan")})
    log.close(failed=True)
    assert fake.calls == [
        ("open", "a, b, seed 1"),
        ("log", 2, {"loss": 0.5}),
        ("log", 2, {"l0": 3.0}),
        ("log", 1, {"loss": 0.75}),
        ("log", 2, {"dead": 0.0}),
        ("summarise", {"r2": 0.75}),
        ("close", False),
    ]
    assert log.problem == ""


def draw() -> None:
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(random.getrandbits(20) + int(np.random.rand() * 9) + int(torch.rand(1) * 9))  # noqa: NPY002


def disturb() -> None:
    print("printed")
    sys.stderr.write("printed")
    os.environ["LEFT_BY_A_LOG"] = "1"
    os.chdir("/")
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    os.close(1)


@pytest.mark.parametrize("at", ["open", "log", "summarise", "close"])
@pytest.mark.parametrize("act", [draw, disturb])
def test_calls_leave_no_trace(
    fake: type[FakeLog], at: str, act: Callable[[], None], capfd: pytest.CaptureFixture[str]
) -> None:
    fake.at, fake.act = at, staticmethod(act)  # type: ignore[method-assign, assignment]
    folder, python, numpy = Path.cwd(), random.getstate(), np.random.get_state()  # noqa: NPY002
    state, settings = torch.get_rng_state(), (torch.is_grad_enabled(), torch.get_default_dtype())
    all_calls(guarded())
    assert random.getstate() == python
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), numpy, strict=True))  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), state)
    assert (torch.is_grad_enabled(), torch.get_default_dtype()) == settings
    assert Path.cwd() == folder and "LEFT_BY_A_LOG" not in os.environ
    assert any(call[0] == at for call in fake.calls)
    print("still open")
    assert capfd.readouterr() == ("still open\n", "")


def fail() -> None:
    raise OSError(28, "No space left on device")


def leave() -> None:
    sys.exit(3)


def end_process() -> None:
    os._exit(3)


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("at", ["open", "log", "summarise", "close"])
@pytest.mark.parametrize("act", [fail, leave, end_process, interrupt])
def test_a_log_that_raises_is_reported_and_switched_off_for_its_run(
    fake: type[FakeLog], at: str, act: Callable[[], None]
) -> None:
    fake.at, fake.act = at, staticmethod(act)  # type: ignore[method-assign, assignment]
    log = guarded()
    all_calls(log)
    assert fake.calls[-1][0] == at, "nothing is called after the failure"
    assert log.problem.startswith("The training log 'fake' failed")
    assert log.problem.endswith(". The run goes on without this log.") and "\n" not in log.problem
    if act is fail:
        assert "No space left on device" in log.problem

    fake.calls.clear()
    later = guarded()
    all_calls(later)
    assert (fake.calls, later.problem) == ([], ""), "a later cell of the run is not logged, and says nothing"
    all_calls(guarded("another run"))
    assert fake.calls


def test_ctrl_c_in_a_log_goes_through(fake: type[FakeLog]) -> None:
    @interrupting
    def by_the_user() -> None:
        raise KeyboardInterrupt

    fake.at, fake.act = "log", staticmethod(by_the_user)  # type: ignore[method-assign, assignment]
    log = guarded()
    log.open()
    with pytest.raises(KeyboardInterrupt):
        log.on_metrics(1, {"loss": 0.5})


@pytest.mark.parametrize("at", ["open", "log"])
def test_a_thread_of_a_log_that_raises_is_no_failure_of_the_fit(fake: type[FakeLog], at: str) -> None:
    """TensorBoard's writer raises in its thread if the disk is full, during the call or later."""
    go, threads = threading.Event(), []

    def start() -> None:
        def work() -> None:
            go.wait(10)
            raise OSError(28, "No space left on device")

        threads.append(threading.Thread(target=work, daemon=True))
        threads[-1].start()
        immediate = threading.Thread(target=lambda: 1 / 0)
        immediate.start()
        immediate.join()

    fake.at, fake.act = at, staticmethod(start)  # type: ignore[method-assign, assignment]
    log = guarded()
    with failing_threads("the fit"):
        log.open()
        log.on_metrics(1, {"loss": 0.5})
        go.set()
        threads[0].join()
    assert not threads[0].is_alive() and log.problem == ""
    with pytest.raises(UserError, match=r"A thread of the fit raised ZeroDivisionError"), failing_threads("the fit"):
        failing_thread = threading.Thread(target=lambda: 1 / 0)
        failing_thread.start()
        log.on_metrics(2, {"loss": 0.5})
        failing_thread.join()


@pytest.mark.parametrize(
    ("step", "values"),
    [
        ("one", {"loss": 1.0}),
        (1.5, {"loss": 1.0}),
        (-1, {"loss": 1.0}),
        (2**63, {"loss": 1.0}),
        (1, {"loss": "low"}),
        (1, {"loss": None}),
        (1, [0.5]),
        (1, {"loss": torch.zeros(2)}),
    ],
)
def test_metrics_that_are_no_numbers_are_left_out_and_said(fake: type[FakeLog], step: object, values: object) -> None:
    log = guarded()
    log.open()
    log.on_metrics(step, values)  # type: ignore[arg-type]
    log.on_metrics(3, {"l\x1b0": torch.tensor(2.0), "d" * 200: np.float32(0.5)})  # type: ignore[dict-item]
    assert fake.calls[1:] == [("log", 3, {"l\N{REPLACEMENT CHARACTER}0": 2.0, "d" * 100: 0.5})]
    assert "not logged" in log.problem and log.problem.startswith("a, b, seed 1: ")


def test_metrics_of_another_thread_wait_for_the_thread_of_the_fit(fake: type[FakeLog]) -> None:
    """There the random generators could not be put back without a race with the fit."""
    fake.at, fake.act = "log", staticmethod(draw)  # type: ignore[method-assign, assignment]
    log = guarded()
    log.open()
    thread = threading.Thread(target=log.on_metrics, args=(1, {"loss": 0.5}))
    thread.start()
    thread.join()
    assert [call[0] for call in fake.calls] == ["open"]
    log.on_metrics(2, {"loss": 0.25})
    assert [call[:2] for call in fake.calls[1:]] == [("log", 1), ("log", 2)]


def test_unknown_and_missing_loggers_are_refused() -> None:
    with pytest.raises(UserError, match=r"There is no training log 'wandbb'\. Did you mean wandb\?"):
        require("wandbb")
    missing = type("Missing", (FakeLog,), {"name": "missing", "package": "no_such_package", "extra": "log-missing"})
    TRAINING_LOGS.add("missing", missing)
    try:
        with pytest.raises(UserError) as refused:
            require("missing")
    finally:
        del TRAINING_LOGS.entries["missing"]
    assert str(refused.value) == (
        "--log missing needs the package no_such_package, which is not installed: "
        "pip install 'disentanglement-harness[log-missing]'."
    )
    with pytest.raises(UserError, match="not a subclass of TrainingLog"):
        TRAINING_LOGS.add("wrong", dict)  # type: ignore[arg-type]


def test_a_folder_of_the_package_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of wandb leaves a folder ``wandb`` in the working directory."""
    (tmp_path / "some_logger").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    logger = type("Folder", (FakeLog,), {"name": "folder", "package": "some_logger"})
    TRAINING_LOGS.add("folder", logger)
    try:
        with pytest.raises(UserError, match="pip install 'some_logger'"):
            require("folder")
    finally:
        del TRAINING_LOGS.entries["folder"]


def test_names_of_files_are_one_part_of_a_path() -> None:
    for name in ("../../etc/passwd", "a/b\x00c", "", "..", "x" * 500, "SAE (k=4), blocks.3, seed 1"):
        file_name = LoggedRun(name, "cell-1", {}, Path()).file_name
        assert Path(file_name).name == file_name and not file_name.startswith("..") and len(file_name) < 120
        assert file_name.endswith("-cell-1") and file_name.isprintable()
