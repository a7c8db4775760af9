"""Commands in processes that are forked from one in which everything is imported: seconds less for each of them.

A command that hangs, ends its process or uses up its memory does not touch the campaign.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from chaos.case import Bounds, Done

#: Address space that a command may use beyond that at its start; a larger request is a MemoryError.
_SPARE_ADDRESSES = 6 << 30

#: File with the resident memory of a fork at its start, in MiB.
_START = ".chaos-start"


def warm_up() -> None:
    """Import what the commands need, so that each fork has it."""
    import importlib

    for name in ("harness.cli", "harness.api", "harness.run", "harness.doctor", "harness.check", "harness.judging",
                 "results.store", "results.export", "results.comparison.leaderboard", "results.verify",
                 "results.published.report", "harness.executors.local", "sklearn.linear_model", "timm"):  # fmt: skip
        importlib.import_module(name)


def freeze() -> None:
    """Keep the forks from copying each object that the collector visits."""
    gc.collect()
    gc.freeze()


def harness(
    arguments: Sequence[str], folder: Path, bounds: Bounds, environment: Mapping[str, str] | None = None
) -> Done:
    """Run ``harness ARGUMENTS`` in a fork, in a working directory."""

    def main() -> None:
        from harness.cli import main

        sys.argv = ["harness", *arguments]
        main()

    return call(main, arguments, folder, bounds, environment)


def call(
    function: Callable[[], None],
    arguments: Sequence[str],
    folder: Path,
    bounds: Bounds,
    environment: Mapping[str, str] | None = None,
) -> Done:
    """Call a function in a fork, as Python would run it as a program; stop it at the time limit."""
    outputs = [folder / f".chaos-{name}" for name in ("stdout", "stderr")]
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(function, folder, outputs, environment or {})
    usage = None
    status = 0
    # Longer on a machine that computes other things as well.
    while time.monotonic() - started < bounds.seconds * busy_factor():
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            break
        time.sleep(0.002)
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        _, _, usage = os.wait4(child, 0)
        status = -1
    seconds = time.monotonic() - started
    texts = [file.read_bytes().decode("utf-8", "backslashreplace") if file.exists() else "" for file in outputs]
    # Of the fork: its parent has more pages in memory, of files that the fork does not touch.
    before = float(start.read_text() or 0) if (start := folder / _START).exists() else 0.0
    for file in (*outputs, start):
        file.unlink(missing_ok=True)
    code = None if status == -1 else os.waitstatus_to_exitcode(status)
    return Done(tuple(arguments), code, *texts, seconds, max(0.0, usage.ru_maxrss / 1024 - before))  # type: ignore[call-arg]


def busy_factor() -> float:
    """Return the number of processes that wait for each core, at least 1."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def _become(
    function: Callable[[], None], folder: Path, outputs: Sequence[Path], environment: Mapping[str, str]
) -> None:
    """Turn this fork into a program of its own; does not return."""
    code = 1
    try:
        (folder / _START).write_text(f"{_resident_mebibytes()}")
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.update({"COLUMNS": "120", **environment})
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, file in enumerate(outputs, start=1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        sys.stdout, sys.stderr = (
            # As those of Python itself: to close the object leaves the file open.
            io.TextIOWrapper(io.FileIO(number, "w", closefd=False), encoding="utf-8", write_through=True)
            for number in (1, 2)
        )
        os.chdir(folder)
        limit = _address_space() + _SPARE_ADDRESSES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        code = _as_program(function)
    finally:
        os._exit(code)


def _as_program(function: Callable[[], None]) -> int:
    try:
        function()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _resident_mebibytes() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
