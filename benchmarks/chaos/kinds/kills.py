"""Kills: a run gets SIGKILL or SIGINT at a random moment, is continued, and must end as an undisturbed one."""

from __future__ import annotations

import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from chaos import processes
from chaos.case import Bounds, Case, Done
from chaos.small_inputs import BACKBONES, RUN, shared_folder, use_support, write_run
from chaos.store_content import content, finished_cells

ORDER = 1
N_KILLS = 20

_METHODS = ("identity", "random_split", "topk_sae", "elude")
#: Report of the killed processes, in the folder of the case.
_REPORT = "killed.txt"
#: A process that gets SIGINT ends within this time.
_PATIENCE_S = 30.0


def cases(seed: int) -> Iterator[Case]:
    """Yield one case per kill. The moments are shares of the time that an undisturbed run takes here."""
    use_support()
    whole, seconds = _undisturbed()
    for number in range(N_KILLS):
        draw = random.Random(f"{seed} {number}")
        sent = (signal.SIGKILL, signal.SIGINT)[number % 2]
        share = draw.uniform(0.02, 0.95)
        yield Case(
            f"{sent.name} after {share:.0%} of the run",
            functools.partial(_start_and_kill, sent, share * seconds),
            (RUN,),
            codes=frozenset({0}),
            bounds=Bounds(120, 1500),
            examine=functools.partial(_compare, sent, whole),
        )


@functools.cache
def _undisturbed() -> tuple[Path, float]:
    """Run without a kill; return its store, and the seconds from the start of the process to its end."""
    folder = shared_folder("undisturbed")
    write_run(folder, *_METHODS, seeds="[1, 2]")
    # The second is measured: the first may compile functions of numba.
    for name in ("first", "second"):
        started = time.monotonic()
        command = _command(f"{name}/results.duckdb")
        subprocess.run(command, cwd=folder, check=True, capture_output=True, env=_environment())
    return folder / "second" / "results.duckdb", time.monotonic() - started


def _command(store: str) -> list[str]:
    return [sys.executable, "-m", "harness", *RUN[:-1], store, "--plugin", str(BACKBONES)]


def _environment() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "120"}


def _start_and_kill(sent: signal.Signals, after_s: float, folder: Path) -> None:
    """Start a run and send a signal to it; a run that ends before is started again, and gets the signal earlier."""
    write_run(folder, *_METHODS, seeds="[1, 2]")
    while True:
        process = subprocess.Popen(
            _command(RUN[-1]), cwd=folder, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            process.communicate(timeout=after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(sent)
            break
        after_s *= 0.8
        shutil.rmtree(folder / "out")
    try:
        out, err = process.communicate(timeout=_PATIENCE_S * processes.busy_factor())
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        err += f"\nfault: still running {_PATIENCE_S:.0f} s after the signal\n"
    cells = sorted(finished_cells(folder / RUN[-1]))
    report = [f"exit code {process.returncode}", f"finished cells: {' '.join(cells)}", "stdout:", out, "stderr:", err]
    (folder / _REPORT).write_text("\n".join(report))


def _compare(sent: signal.Signals, whole: Path, folder: Path, done: Sequence[Done]) -> Iterator[str]:
    report = (folder / _REPORT).read_text()
    code = int(report.split("\n")[0].removeprefix("exit code "))
    before = set(report.split("\n")[1].removeprefix("finished cells: ").split())
    if "fault: " in report:
        yield report.rpartition("fault: ")[2].strip()
    if sent is signal.SIGINT:
        # Before Python has set its handler, and after the end of the run, the signal ends the process at once.
        if code not in (130, -signal.SIGINT):
            yield f"SIGINT ended the process with exit code {code}, not 130"
        if "Traceback (most recent call last)" in report:
            yield "SIGINT printed a traceback"
        if code == 130 and "interrupted" not in report.lower():
            yield "SIGINT ended the process without a word"
    store = folder / RUN[-1]
    if not store.exists():
        yield "the continued run left no store"
        return
    if lost := before - finished_cells(store):
        yield f"{len(lost)} finished cells were lost"
    kept = f"{len(before)} kept from earlier runs"
    if before and kept not in done[-1].stdout:
        yield f"finished cells were computed again: {kept!r} is not in the summary"
    yield from (f"{table}: {difference}" for table, difference in differences(store, whole))


def differences(store: Path, whole: Path) -> Iterator[tuple[str, str]]:
    """Yield table and difference of two stores, without times, memory, and identities of runs."""
    ours, theirs = content(store), content(whole)
    for table in sorted({*ours, *theirs}):
        if ours.get(table) != theirs.get(table):
            here, there = set(ours.get(table, ())), set(theirs.get(table, ()))
            yield table, f"{len(here - there)} rows that differ from the undisturbed run, {len(there - here)} missing"
