"""The GPU report on a CPU: every section at a small size, time limits, and what it prints where there is no GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from paths import ROOT

pytestmark = pytest.mark.run

SCRIPT = ROOT / "benchmarks" / "gpu_report.py"


def run_report(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    environment = {name: value for name, value in os.environ.items() if name != "OUT"}
    command = [sys.executable, str(SCRIPT), "--out", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280, check=False)
    file = folder / "report.json"
    return done, json.loads(file.read_text()) if file.exists() else {}


@pytest.mark.slow
def test_every_section_runs_at_a_small_size(tmp_path: Path) -> None:
    done, report = run_report(tmp_path, "--tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    files = {file.stem for file in (ROOT / "benchmarks" / "gpu").glob("*.py") if "LIMIT_S =" in file.read_text()}
    # These two run on request.
    assert {section["name"] for section in report["sections"]} == files - {"hang", "rehearsal"}
    for section in report["sections"]:
        assert section["status"] == "done", section
        assert all(rows for rows in section["tables"].values()) and section["tables"], section["name"]
    page = (tmp_path / "report.md").read_text()
    assert "the numbers mean nothing" in page
    assert all(f"## {section['title']}" in page for section in report["sections"])


@pytest.mark.slow
def test_the_rehearsal_runs_on_request(tmp_path: Path) -> None:
    done, report = run_report(tmp_path, "--tiny", "--sections", "rehearsal")
    assert done.returncode == 0, done.stdout + done.stderr
    [section] = report["sections"]
    assert section["status"] == "done"
    assert {"check of the larger share", "hours of the plan"} <= set(section["tables"])


@pytest.mark.slow
def test_a_section_that_hangs_is_stopped_and_keeps_its_rows(tmp_path: Path) -> None:
    done, report = run_report(tmp_path, "--tiny", "--sections", "hang", "clustering_scale")
    assert done.returncode == 1
    hang, clustering = report["sections"]
    assert hang["status"] == "stopped at its time limit" and hang["seconds"] < 30
    (row,) = hang["tables"]["before"]
    assert not running(row["child"]), "a process that the section had started was not stopped"
    assert clustering["status"] == "done"


@pytest.mark.slow
def test_a_section_that_may_exceed_the_total_time_is_left_out(tmp_path: Path) -> None:
    done, report = run_report(tmp_path, "--tiny", "--seconds", "60", "--sections", "training_rate", "hang")
    assert done.returncode == 1, done.stdout + done.stderr
    training, hang = report["sections"]
    assert training["status"].startswith("left out") and not training["tables"]
    assert hang["status"] == "stopped at its time limit"


@pytest.mark.slow
def test_a_method_that_raises_is_a_failed_check_and_the_others_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gpu_report  # noqa: F401 - sets the path
    from gpu import parity
    from gpu.record import Record

    def compare(record: Record, name: str, config: dict[str, Any]) -> None:
        if name == "ica":
            raise RuntimeError("two devices")
        record.row("methods", method=name)

    monkeypatch.setattr(parity, "compare_method", compare)
    file = tmp_path / "rows.jsonl"
    parity.every_method(Record(file, "cpu", tiny=True, limit_s=60))
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    compared = {entry["values"]["method"]: entry["values"] for entry in entries if entry["table"] == "methods"}
    assert {"ica", "pca", "pretrained_sae", "vanilla_sae"} <= set(compared)
    assert compared["ica"]["failed"] == "RuntimeError: two devices"
    [check] = [entry["values"] for entry in entries if entry["table"] == "checks"]
    assert check["result"] == "FAILED" and "ica" in check["check"]


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_limits_leave_the_whole_report_at_nine_minutes() -> None:
    limits = []
    for file in (ROOT / "benchmarks" / "gpu").glob("*.py"):
        lines = [line for line in file.read_text().splitlines() if line.startswith("LIMIT_S = ")]
        # The rehearsal runs on request only.
        limits += [int(line.removeprefix("LIMIT_S = ")) for line in lines if file.stem not in ("hang", "rehearsal")]
    assert len(limits) == 9 and sum(limits) <= 540


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_what_to_do(tmp_path: Path) -> None:
    done, report = run_report(tmp_path)
    assert done.returncode == 2 and not report
    assert "PyTorch sees no GPU" in done.stderr and "--tiny" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_unknown_section_is_named_with_the_valid_ones(tmp_path: Path) -> None:
    done, _ = run_report(tmp_path, "--tiny", "--sections", "speed")
    assert done.returncode == 2 and "unknown section 'speed'" in done.stderr and "parity" in done.stderr
