"""Worker behind the page Steer: a process of this machine with the network, which ends with the app.

``python -m harness.steering.worker`` reads its options as JSON from standard input, and writes its port to standard
output before it imports torch.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.errors import UserError
from harness.steering.steer_request import SteerRequest
from harness.steering.worker_server import WorkerServer

if TYPE_CHECKING:
    from harness.steering.worker_cells import WorkerCells

#: Environment variable of the token, which the worker is given and the app sends.
TOKEN_VARIABLE = "HARNESS_STEER_TOKEN"
#: Environment variable of the worker's port.
PORT_VARIABLE = "HARNESS_STEER_PORT"
#: Seconds between two looks at the parent, and seconds in which a worker must say its port.
_LOOK_S, _START_S = 0.5, 60.0


class Worker(NamedTuple):
    """Process of a worker, and how the app reaches it."""

    process: subprocess.Popen[str]
    environment: Mapping[str, str]
    """variables of the app: port and token"""


def start_worker(options: Mapping[str, Any]) -> Worker:
    """Start a worker of this process: it ends within a second of it, and of the program that replaces it.

    Args:
        options: ``store``, ``cache`` (a folder or None), ``device``, ``plugins`` (files), and ``suite``, the arguments
            of :func:`harness.suites.resolve.resolve_suite`.

    Raises:
        UserError: if it does not start.
    """
    token = secrets.token_urlsafe(32)
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.steering.worker"],
        env={**os.environ, TOKEN_VARIABLE: token},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    timer = threading.Timer(_START_S, process.kill)
    timer.start()
    try:
        process.stdin.write(json.dumps({**options, "parent": os.getpid()}))
        process.stdin.close()
        line = process.stdout.readline().strip()
    except OSError:
        line = ""
    finally:
        timer.cancel()
    if not line.isdecimal():
        process.kill()
        process.wait()
        raise UserError("The worker of the page Steer did not start; its messages are above.")
    return Worker(process, {TOKEN_VARIABLE: token, PORT_VARIABLE: line})


def main() -> None:
    """Run a worker until its parent ends."""
    logging.basicConfig(format="worker of the page Steer: %(message)s", level=logging.WARNING)
    options = json.load(sys.stdin)
    _watch(int(options["parent"]))
    cells = functools.cache(lambda: _cells_of(options))
    # One thread at a time opens the suite.
    turn = threading.Lock()

    def opened() -> WorkerCells:
        with turn:
            return cells()

    def steer(request: SteerRequest) -> Mapping[str, Any]:
        return opened().steer(request)

    server = WorkerServer(os.environ.pop(TOKEN_VARIABLE), steer, lambda: opened().listed())
    print(server.port, flush=True)  # noqa: T201 - read by start_worker
    # The other end of the pipe closes when the app replaces the parent.
    os.dup2(2, 1)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        # Ctrl-C in the terminal of the app, which reaches all of its processes.
        os._exit(0)


def _cells_of(options: Mapping[str, Any]) -> WorkerCells:
    from harness.steering.worker_cells import WorkerCells
    from harness.suites.resolve import resolve_suite
    from results.store import open_store

    if options["plugins"]:
        from harness.plugins import load_plugin

        for file in options["plugins"]:
            load_plugin(Path(file))
    arguments = dict(options["suite"])
    suite = resolve_suite(arguments.pop("suite"), **arguments).suite
    cache = None if options["cache"] is None else Path(options["cache"])
    return WorkerCells(open_store(options["store"]), suite, device=options["device"], cache=cache)


def _watch(parent: int) -> None:
    """End this process as soon as its parent is another one: the parent has ended, however that was."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        # Not sys.exit, which would wait for the steering in progress.
        os._exit(0)

    threading.Thread(target=look, daemon=True).start()


if __name__ == "__main__":
    main()
