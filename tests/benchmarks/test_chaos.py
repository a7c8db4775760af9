"""The fault campaign: what counts as a fault, its limits, and a short run of it; the whole of it is `make chaos`."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from chaos import processes
from chaos.campaign import run_all
from chaos.case import Bounds, Case, Done
from chaos.classify import faults_of
from chaos.kinds import kinds
from chaos.table import Row, table
from paths import ROOT

pytestmark = pytest.mark.run

ANY = Case("any", lambda folder: None, (), mentions=("mutant.toml",))


def done(code: int | None, *, out: str = "", err: str = "", mebibytes: float = 1) -> Done:
    return Done(("doctor",), code, out, err, 1.0, mebibytes)


@pytest.mark.parametrize(
    ("result", "fault"),
    [
        (done(0, out="ok"), None),
        (done(2, err="harness: mutant.toml, line 3: crops = -1: it should be at least 0."), None),
        (done(2, err="a line of progress\nharness: mutant.toml: wrong.\nharness: mutant.toml: wrong."), None),
        (done(1, out="MISS  images of mutant.toml"), None),
        (done(None), "stopped after"),
        (done(0, mebibytes=4000), "4000 MiB more"),
        (done(1, err='Traceback (most recent call last):\n  File "x.py", line 1, in f'), "printed a traceback"),
        (done(0, out='  File "x.py", line 1, in f'), "printed a traceback"),
        (done(3, out="mutant.toml"), "exit code 3"),
        (done(-11, err="harness: mutant.toml"), "exit code -11"),
        (done(2), "without a message"),
        (done(2, err="harness: "), "without a message"),
        (done(2, err="harness: mutant.toml: " + "x" * 300), "a sentence has"),
        (done(2, err="harness: " + "mutant.toml: no\n" * 13), "13 lines"),
        (done(2, err="harness: mutant.toml: KeyError: 'a'"), "is about KeyError"),
        (done(2, err="harness: something is wrong"), "does not name mutant.toml"),
        (done(1, out="something is missing"), "does not name mutant.toml"),
        (done(0, out="red \x1b[31m"), "control character U+001B"),
        (done(0, out="turned \u202e"), "control character U+202E"),
    ],
)
def test_what_is_a_fault(result: Done, fault: str | None) -> None:
    faults = list(faults_of(result, ANY))
    assert not faults if fault is None else any(fault in each for each in faults), faults


def test_an_accepted_input_that_must_be_refused() -> None:
    case = Case("wrong", lambda folder: None, (), must_fail=True)
    assert list(faults_of(done(0), case)) == ["accepted an input that must be refused"]


def _raises() -> None:
    raise KeyError("inside")


def _grows() -> None:
    time.sleep(len(bytearray(os.urandom(1) * 200_000_000)) * 1e-10)


@pytest.mark.parametrize(
    ("function", "code", "text"),
    [
        (lambda: None, 0, ""),
        (lambda: sys.exit(2), 2, ""),
        (lambda: sys.exit("sorry"), 1, "sorry"),
        (_raises, 1, "KeyError: 'inside'"),
        (lambda: os.kill(os.getpid(), 9), -9, ""),
        (lambda: time.sleep(60), None, ""),
    ],
)
def test_a_fork_ends_as_a_program_would(
    function: Callable[[], None], code: int | None, text: str, tmp_path: Path
) -> None:
    result = processes.call(function, ("x",), tmp_path, Bounds(seconds=0.5))
    assert result.code == code and text in result.stderr
    assert result.seconds < 5 and not list(tmp_path.iterdir())


def test_the_memory_of_a_fork_is_its_own(tmp_path: Path) -> None:
    small = processes.call(lambda: None, ("x",), tmp_path, Bounds())
    large = processes.call(_grows, ("x",), tmp_path, Bounds())
    assert small.mebibytes < 100 < large.mebibytes < 600


def test_a_fault_is_kept_with_its_input_and_output(tmp_path: Path) -> None:
    def arrange(folder: Path) -> None:
        (folder / "input.toml").write_text("name = 3")

    wrong = Case("wrong", arrange, (("--version",),), must_fail=True)
    right = Case("right", arrange, (("--version",),))

    def broken(folder: Path) -> None:
        raise RuntimeError("cannot be written")

    cases = [right, wrong, Case("broken", broken, ())]
    results = {result.number: result for result in run_all(cases, faults=tmp_path, workers=2)}
    assert not results[0].faults and results[1].faults and "cannot be written" in results[2].faults[0]
    assert {folder.name for folder in tmp_path.iterdir()} == {"0001", "0002"}
    assert (tmp_path / "0001" / "input" / "input.toml").read_text() == "name = 3"
    assert "exit code 0" in (tmp_path / "0001" / "report.txt").read_text()


def test_a_case_can_be_repeated_alone(tmp_path: Path) -> None:
    suites = kinds()["suites"]
    twice = [list(itertools.islice(suites.cases(17), 40)) for _ in range(2)]
    written = []
    for number, case in enumerate([twice[0][33], twice[1][33], next(iter(suites.cases(18)))]):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        case.arrange(folder)
        written.append((folder / "mutant.toml").read_bytes())
    assert written[0] == written[1] != written[2]
    (result,) = run_all(twice[0], faults=tmp_path / "faults", workers=2, only=[33])
    assert result.number == 33


def test_a_short_campaign_has_no_faults(tmp_path: Path) -> None:
    cases = list(itertools.islice(kinds()["suites"].cases(17), 10))
    processes.warm_up()
    results = list(run_all(cases, faults=tmp_path, workers=2))
    assert [(result.number, result.faults) for result in results if result.faults] == []
    assert len(results) == len(cases)


def test_every_kind_is_in_the_table() -> None:
    available = kinds()
    assert list(available) == ["kills", "suites", "images", "plugins", "stores", "replies", "caches"]
    text = table([Row("suites", 3, 2, 1, 4.4), Row("images", 1, 1, 0, 1.0)])
    assert [line.split() for line in text.splitlines()] == [
        ["kind", "tried", "clear", "faults", "seconds"],
        ["suites", "3", "2", "1", "4"],
        ["images", "1", "1", "0", "1"],
        ["total", "4", "3", "1", "5"],
    ]


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_campaign(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "chaos", "--out", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])}
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=2300, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
