"""Process of the worker: it tells its port, answers the app, and ends with its parent, however that ends."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from app_store import make_store
from paths import ROOT

from harness.errors import UserError
from harness.steering import worker
from harness.steering.worker import PORT_VARIABLE, TOKEN_VARIABLE, start_worker
from harness.steering.worker_server import TOKEN_HEADER

pytestmark = pytest.mark.run

PARENT = """
import json, os, sys
from harness.steering.worker import start_worker
started = start_worker(json.loads(sys.argv[1]))
print(json.dumps([started.process.pid, dict(started.environment)]), flush=True)
if sys.argv[2] == "replaced":
    os.execv(sys.executable, [sys.executable, "-c", "import time; print('replaced', flush=True); time.sleep(60)"])
sys.stdin.read()
"""


def options(store: Path, **changes: Any) -> dict[str, Any]:
    return {"store": str(store), "cache": None, "device": "cpu", "plugins": [], "suite": {"suite": "demo"}, **changes}


def asked(environment: dict[str, str], path: str, content: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", int(environment[PORT_VARIABLE]), timeout=60)
    with contextlib.closing(connection):
        body = None if content is None else json.dumps(content).encode()
        method = "GET" if content is None else "POST"
        connection.request(method, path, body, {TOKEN_HEADER: environment[TOKEN_VARIABLE]})
        response = connection.getresponse()
        return response.status, json.loads(response.read())


@contextlib.contextmanager
def parent_of_worker(store: Path, kind: str) -> Iterator[tuple[subprocess.Popen[str], int, dict[str, str]]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, json.dumps(options(store)), kind],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        pid, environment = json.loads(process.stdout.readline())
        if kind == "replaced":
            assert process.stdout.readline() == "replaced\n"
        yield process, pid, environment
    finally:
        process.kill()
        process.communicate()


def is_running(pid: int) -> bool:
    """True unless the process has ended; one that nobody has waited for has ended, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("kind", ["parent", "replaced"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_its_parent_also_after_that_was_replaced(tmp_path: Path, kind: str, how: int) -> None:
    with parent_of_worker(make_store(tmp_path / "r.duckdb").path, kind) as (process, pid, environment):
        assert asked(environment, "/nothing")[0] == 404 and is_running(pid)
        process.send_signal(how)
        process.wait(20)
        until = time.monotonic() + 20
        while is_running(pid) and time.monotonic() < until:
            time.sleep(0.05)
        assert not is_running(pid)


def test_it_lists_the_cells_and_names_one_that_is_not_there(tmp_path: Path) -> None:
    started = start_worker(options(make_store(tmp_path / "r.duckdb").path))
    try:
        environment = dict(started.environment)
        # The cells of this store have no fits.
        assert asked(environment, "/cells") == (200, {"cells": []})
        request = {"cell": "nowhere", "amplify": ["dog"], "images": ["a.jpg"]}
        status, answer = asked(environment, "/steer", request)
        assert status == 400 and "There is no cell 'nowhere' in r.duckdb" in answer["error"]
        status, answer = asked(environment, "/steer", {**request, "cell": "elude-42"})
        assert status == 400 and "elude-42 cannot be steered" in answer["error"]
        assert TOKEN_VARIABLE not in os.environ and len(environment[TOKEN_VARIABLE]) >= 32
    finally:
        started.process.kill()
        started.process.wait()


def test_a_worker_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(worker.sys, "executable", "/bin/false")
    with pytest.raises(UserError, match="did not start"):
        start_worker(options(tmp_path / "r.duckdb"))
