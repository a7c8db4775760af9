"""Time of each step beside its estimate: in the log of a run, and told if it is wrong by a factor of two."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import suite_of

from harness.doctor.calibration.file import save
from harness.doctor.rates import DEFAULTS, MEASURED, Rate
from harness.progress import Silent
from harness.run import run
from harness.run.journal import Journal
from harness.run.step_times import StepTimes
from harness.suites import Suite, parse_suite


class Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, sentence: str) -> None:
        self.lines.append(sentence)


def layer_suite() -> Suite:
    return parse_suite(
        {
            "name": "small",
            "data": {"dataset": "photos:20", "evaluation": 6},
            "evaluation": {"top_images": 3, "metrics": ["l0", "r2"]},
            "targets": [{"backbone": "efficientnet_lite0", "site": "conv_head", "head": "own"}],
            "methods": [{"name": "identity"}, {"name": "random_split", "config": {"parts": 2}}],
        }
    )


def log_of(folder: Path) -> list[str]:
    [file] = sorted((folder / "logs").glob("*.log"))[-1:]
    return [line[20:] for line in file.read_text().splitlines()]


@pytest.mark.run
def test_the_log_ends_with_estimate_beside_actual(tmp_path: Path) -> None:
    heard = Heard()
    assert run(layer_suite(), tmp_path / "r.duckdb", device="cpu", reporter=heard).failed == 0
    log = log_of(tmp_path)
    start = next(index for index, line in enumerate(log) if line.startswith("Time of the steps"))
    assert "those of an H200" in log[start]
    stages = [line.split(":")[0].strip() for line in log[start + 1 : start + 5]]
    assert stages[0] == "probing pass" and stages[1].startswith("evaluation passes") and stages[-1] != stages[0]
    assert all("estimated" in line and "took" in line for line in log[start + 1 : start + 5])
    assert not any("Time of the steps" in line or "doctor's estimate" in line for line in heard.lines)
    # Tokens and baseline are read from the cache now, and cost nothing.
    run(layer_suite(), tmp_path / "r.duckdb", device="cpu", rerun=True)
    assert not any(line.strip().startswith("probing pass:") for line in log_of(tmp_path))


@pytest.mark.run
def test_a_layer_that_doctor_does_not_know_has_no_estimate(tmp_path: Path, photo_folder: Path) -> None:
    suite = suite_of(photo_folder, "identity", seeds={"tokens": [1]}, evaluation={"top_images": 2, "metrics": ["r2"]})
    run(suite, tmp_path / "r.duckdb", device="cpu")
    assert any("probing pass: no estimate, took " in line for line in log_of(tmp_path))


def _reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, estimated: float, actual: float) -> list[str]:
    rates = {name: Rate(1.0, rate.unit, MEASURED, "", 0.0) for name, rate in DEFAULTS.items()}
    save(tmp_path / "cache", "cpu", rates)
    times = StepTimes(layer_suite(), [], tmp_path / "cache", "cpu")
    times._actual["tokens"], times._estimated["tokens"] = actual, estimated
    heard = Heard()
    journal = Journal(heard, {}, {}, tmp_path / "logs" / "r.log")
    times.report(journal)
    journal.close()
    return heard.lines


@pytest.mark.parametrize(
    ("estimated", "actual", "is_told"),
    [(100.0, 150.0, False), (100.0, 250.0, True), (500.0, 100.0, True), (1.0, 30.0, False)],
)
def test_only_a_wrong_estimate_of_a_long_run_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, estimated: float, actual: float, is_told: bool
) -> None:
    lines = _reported(tmp_path, monkeypatch, estimated=estimated, actual=actual)
    assert bool(lines) == is_told
    assert all("harness doctor --calibrate" in line for line in lines)
