"""The cases of one kind, several at a time, each in a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from chaos import processes
from chaos.case import Case, Done, Result
from chaos.classify import faults_of


def run_all(
    cases: Iterable[Case], *, faults: Path, workers: int, only: Collection[int] | None = None
) -> Iterator[Result]:
    """Run cases, ``workers`` at a time, and yield the results as they come.

    Args:
        faults: folder that receives the input and the output of each case with a fault.
        workers: number of cases at the same time.
        only: numbers of the cases that are run; default: all.
    """
    waiting = iter((number, case) for number, case in enumerate(cases) if only is None or number in only)
    running: dict[int, tuple[int, Case, Path, float]] = {}
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as scratch:
        while True:
            while len(running) < workers and (upcoming := next(waiting, None)) is not None:
                number, case = upcoming
                folder = Path(scratch, f"{number}")
                folder.mkdir()
                sys.stdout.flush()
                sys.stderr.flush()
                child = os.fork()
                if child == 0:
                    _in_child(number, case, folder)
                running[child] = number, case, folder, time.monotonic()
            if not running:
                return
            child, _ = os.wait()
            if child not in running:
                continue
            number, case, folder, _ = running.pop(child)
            result = _read(number, case, folder)
            if result.faults:
                keep(result, case, folder, faults)
            _remove(folder)
            yield result


def run_case(number: int, case: Case, folder: Path) -> Result:
    """Run one case in an empty folder."""
    started = time.monotonic()
    inputs = folder / "input"
    inputs.mkdir()
    case.arrange(inputs)
    done: list[Done] = []
    for arguments in case.commands:
        done.append(processes.harness(arguments, inputs, case.bounds, case.environment))
    faults = [fault for each in done for fault in faults_of(each, case)]
    faults += case.examine(inputs, done)
    return Result(number, case.name, tuple(dict.fromkeys(faults)), tuple(done), time.monotonic() - started)


def _in_child(number: int, case: Case, folder: Path) -> None:
    """Run one case in this fork and leave its result in the folder; does not return."""
    try:
        result = run_case(number, case, folder)
        (folder / "result.json").write_text(json.dumps(result))
    except BaseException:
        (folder / "error.txt").write_text(traceback.format_exc())
    finally:
        os._exit(0)


def _read(number: int, case: Case, folder: Path) -> Result:
    file = folder / "result.json"
    if not file.exists():
        error = folder / "error.txt"
        reason = error.read_text() if error.exists() else "its process was killed"
        return Result(number, case.name, (f"the campaign itself failed: {reason.strip().splitlines()[-1]}",), (), 0.0)
    _, name, faults, done, seconds = json.loads(file.read_text())
    commands = tuple(Done(tuple(arguments), *rest) for arguments, *rest in done)
    return Result(number, name, tuple(faults), commands, seconds)


def keep(result: Result, case: Case, folder: Path, faults: Path) -> None:
    """Keep the input and the output of a case with a fault, so that it can be looked at and repeated."""
    target = faults / f"{result.number:04d}"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    lines = [f"{result.name}", *(f"fault: {fault}" for fault in result.faults), ""]
    for done in result.done:
        lines += [f"$ harness {' '.join(map(repr, done.arguments))}", f"exit code {done.code}, {done.seconds:.1f} s,"
                  f" {done.mebibytes:.0f} MiB", "stdout:", done.stdout, "stderr:", done.stderr, ""]  # fmt: skip
    (target / "report.txt").write_text("\n".join(lines), encoding="utf-8", errors="backslashreplace")
    # Special files, and more than anyone looks at, are left out.
    inputs = folder / "input"
    if sum(1 for _ in inputs.rglob("*")) < 2000:
        shutil.copytree(inputs, target / "input", symlinks=True, ignore=_special, dirs_exist_ok=True)


def _special(folder: str, names: list[str]) -> set[str]:
    def plain(path: Path) -> bool:
        return path.is_symlink() or path.is_dir() or (path.is_file() and os.access(path, os.R_OK))

    return {name for name in names if not plain(Path(folder, name))}


def _remove(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink() and not os.access(path, os.W_OK | os.X_OK):
            path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)
