"""Server of the worker: who is answered, and what; with a stub in place of the network."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from harness.errors import UserError
from harness.steering.steer_request import SteerRequest
from harness.steering.worker_server import MOST_BYTES, MOST_WAITING, TOKEN_HEADER, WorkerServer
from results.errors import StoreError

TOKEN = "a-token"
REQUEST = {"cell": "abcd", "amplify": ["dog"], "images": ["a.jpg"]}
CELLS = [{"cell_id": "abcd", "scorers": ["clip"]}]


def echo(request: SteerRequest) -> Mapping[str, Any]:
    return {"cell": request.cell, "undefined": float("nan"), "pair": (1, float("inf"))}


@contextlib.contextmanager
def serving(steer: Callable[[SteerRequest], Mapping[str, Any]] = echo) -> Iterator[WorkerServer]:
    server = WorkerServer(TOKEN, steer, lambda: CELLS)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def asked(
    server: WorkerServer,
    content: Any = None,
    *,
    path: str = "/steer",
    method: str = "POST",
    headers: Mapping[str, str | None] | None = None,
) -> tuple[int, dict[str, Any], Mapping[str, str]]:
    """Status, JSON and headers of the answer; a header that is None is left out."""
    body = content if isinstance(content, bytes) else json.dumps(REQUEST if content is None else content).encode()
    sent = {
        TOKEN_HEADER: TOKEN,
        "Content-Length": str(len(body)),
        "Host": f"127.0.0.1:{server.port}",
        **(headers or {}),
    }
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    with contextlib.closing(connection):
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in sent.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(body if method == "POST" else None)
        response = connection.getresponse()
        return response.status, json.loads(response.read()), dict(response.getheaders())


@pytest.fixture(scope="module")
def server() -> Iterator[WorkerServer]:
    with serving() as running:
        yield running


def test_a_request_is_answered_and_numbers_that_json_lacks_are_null(server: WorkerServer) -> None:
    status, answer, headers = asked(server)
    assert (status, answer) == (200, {"cell": "abcd", "undefined": None, "pair": [1, None]})
    assert not [name for name in headers if name.lower().startswith("access-control")]
    assert asked(server, method="GET", path="/cells")[:2] == (200, {"cells": CELLS})
    assert asked(server, headers={"Host": f"localhost:{server.port}"})[0] == 200


def test_it_listens_on_this_machine_only(server: WorkerServer) -> None:
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("token", [None, "", "another", "a-toke", "a-token2", "ä"])
@pytest.mark.parametrize(("method", "path"), [("POST", "/steer"), ("GET", "/cells"), ("GET", "/nothing")])
def test_a_wrong_token_is_refused(server: WorkerServer, token: str | None, method: str, path: str) -> None:
    status, answer, _ = asked(server, method=method, path=path, headers={TOKEN_HEADER: token})
    assert status == 401 and set(answer) == {"error"}


@pytest.mark.parametrize("host", [None, "", "example.org", "127.0.0.1", "127.0.0.1:1", "localhost.example.org:{port}"])
def test_another_host_is_refused_whatever_the_token(server: WorkerServer, host: str | None) -> None:
    named = None if host is None else host.format(port=server.port)
    for method, path in (("POST", "/steer"), ("GET", "/cells")):
        assert asked(server, method=method, path=path, headers={"Host": named})[0] == 403


@pytest.mark.parametrize("path", ["/", "/cells", "/steer?x=1", "/../steer", "/steer/"])
def test_other_addresses_are_not_there(server: WorkerServer, path: str) -> None:
    assert asked(server, path=path)[0] == 404


@pytest.mark.parametrize("length", [None, "", "-1", "x", "1e3", "٣", "9" * 30])
def test_a_body_without_a_valid_length_is_refused(server: WorkerServer, length: str | None) -> None:
    headers = {"Content-Length": None if length is None else length.encode("utf-8").decode("latin-1")}
    assert asked(server, headers=headers)[0] == 411


def test_a_body_that_is_too_large_is_not_read(server: WorkerServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        head = f"POST /steer HTTP/1.1\r\nHost: localhost:{server.port}\r\n{TOKEN_HEADER}: {TOKEN}\r\n"
        connection.sendall(f"{head}Content-Length: {MOST_BYTES + 1}\r\n\r\n".encode())
        assert b" 413 " in connection.recv(100)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", {"cell": "x"}, {**REQUEST, "device": "cuda"}])
def test_wrong_json_has_a_sentence(server: WorkerServer, content: Any) -> None:
    status, answer, _ = asked(server, content)
    assert status == 400 and answer["error"].endswith(".") and "Traceback" not in answer["error"]


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (UserError("There is no cell 'abcd'."), 400, "There is no cell 'abcd'."),
        (StoreError("The store is gone."), 400, "The store is gone."),
        (RuntimeError("secret/path"), 500, "Steering failed (RuntimeError)"),
        (MemoryError(), 500, "Steering failed (MemoryError)"),
        (UserError("x" * 100_000), 400, "xxx"),
    ],
)
def test_errors_are_one_sentence(error: Exception, status: int, words: str) -> None:
    def fail(request: SteerRequest) -> Mapping[str, Any]:
        raise error

    with serving(fail) as server:
        answered = asked(server)
        assert answered[0] == status and words in answered[1]["error"] and len(answered[1]["error"]) < 1100
        assert "secret" not in answered[1]["error"]
        # The server goes on.
        assert asked(server, method="GET", path="/cells")[0] == 200


def test_one_request_is_computed_at_a_time_and_too_many_are_refused() -> None:
    at_once, most, release = 0, 0, threading.Event()
    lock = threading.Lock()

    def slow(request: SteerRequest) -> Mapping[str, Any]:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        release.wait(20)
        with lock:
            at_once -= 1
        return {}

    statuses: list[int] = []
    with serving(slow) as server:
        threads = [threading.Thread(target=lambda: statuses.append(asked(server)[0])) for _ in range(MOST_WAITING + 1)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 20
        # All have a place; the next one has none.
        while server.waiting._value and time.monotonic() < until:  # type: ignore[attr-defined]
            time.sleep(0.01)
        assert asked(server)[0] == 503
        # A list of cells and a wrong request do not wait.
        assert asked(server, method="GET", path="/cells")[0] == 200
        release.set()
        for thread in threads:
            thread.join(20)
        assert statuses == [200] * (MOST_WAITING + 1) and most == 1
        assert asked(server)[0] == 200
