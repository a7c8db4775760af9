"""HTTP server of the worker behind the page Steer: JSON on 127.0.0.1, with a token, one steering at a time.

A page in the browser of this machine could send requests to any local port. It cannot know the token; the check of
``Host`` also stops it after it has rebound its own name to 127.0.0.1, and without CORS headers it could read no answer.
"""

from __future__ import annotations

import hmac
import json
import logging
import math
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from harness.errors import UserError
from harness.steering.steer_request import SteerRequest, parsed_request
from results.errors import StoreError
from results.visible_text import short_lines

ADDRESS = "127.0.0.1"
#: Header of the token.
TOKEN_HEADER = "X-Harness-Token"
#: Most bytes of a request's body, and most requests that wait for the one in progress.
MOST_BYTES, MOST_WAITING = 64 << 10, 8
#: Seconds in which a request must arrive.
PATIENCE_S = 15

_LOG = logging.getLogger(__name__)

Steer = Callable[[SteerRequest], Mapping[str, Any]]
Cells = Callable[[], list[dict[str, Any]]]


class WorkerServer(ThreadingHTTPServer):
    """Server that answers ``POST /steer`` and ``GET /cells``.

    Args:
        token: that every request must have in the header :data:`TOKEN_HEADER`.
        steer: called for one request at a time.
        cells: returns the cells that can be steered.
        port: 0: any free one.
    """

    daemon_threads = True
    # The port may be reused at once, and is never shared with another server.
    allow_reuse_address = True

    def __init__(self, token: str, steer: Steer, cells: Cells, port: int = 0) -> None:
        self.token, self.steer, self.cells = token, steer, cells
        self.turn = threading.Lock()
        self.waiting = threading.BoundedSemaphore(MOST_WAITING + 1)
        super().__init__((ADDRESS, port), _Handler)

    @property
    def port(self) -> int:
        """Port that the server listens on."""
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what the handler did not answer; a connection that its other end closed is no error."""
        if not isinstance(sys.exception(), OSError):
            _LOG.exception("a request could not be answered")


class _Handler(BaseHTTPRequestHandler):
    server: WorkerServer
    timeout = PATIENCE_S
    server_version, sys_version = "harness", ""
    #: Status and sentence of the requests that are refused before their body is read.
    refusals: ClassVar[Mapping[int, str]] = {
        401: "The token of the request is missing or wrong.",
        403: "The worker only answers requests to 127.0.0.1 and localhost.",
        404: "The worker answers POST /steer and GET /cells.",
        411: "The request has no valid Content-Length.",
        413: f"The request is larger than {MOST_BYTES} bytes.",
        503: "The worker has too many requests: try again when they are done.",
    }

    def do_GET(self) -> None:
        if self._is_admitted("/cells"):
            self._answer(lambda: {"cells": self.server.cells()})

    def do_POST(self) -> None:
        if not self._is_admitted("/steer"):
            return
        length = self.headers.get("Content-Length") or ""
        if not (length.isascii() and length.isdecimal() and len(length) < 20):
            return self._refuse(411)
        if int(length) > MOST_BYTES:
            return self._refuse(413)
        try:
            body = self.rfile.read(int(length))
        except OSError:  # nothing came in time
            return self._refuse(411)
        if not self.server.waiting.acquire(blocking=False):
            return self._refuse(503)
        try:
            self._answer(lambda: self._steered(body))
        finally:
            self.server.waiting.release()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing of a request: its texts are the reader's."""

    def _is_admitted(self, path: str) -> bool:
        host = self.headers.get("Host") or ""
        token = self.headers.get(TOKEN_HEADER) or ""
        if host not in {f"{name}:{self.server.port}" for name in (ADDRESS, "localhost")}:
            self._refuse(403)
        elif not hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()):
            self._refuse(401)
        elif self.path != path:
            self._refuse(404)
        else:
            return True
        return False

    def _steered(self, body: bytes) -> Mapping[str, Any]:
        # Checked before its turn: a wrong request does not wait.
        request = parsed_request(body)
        with self.server.turn:
            return self.server.steer(request)

    def _answer(self, compute: Callable[[], Mapping[str, Any]]) -> None:
        try:
            self._send(200, compute())
        except (UserError, StoreError) as error:
            self._send(400, {"error": short_lines(str(error))})
        except OSError:
            # The reader has closed the page.
            _LOG.info("the answer was not read", exc_info=True)
        except Exception as error:
            _LOG.exception("steering failed")
            self._send(500, {"error": f"Steering failed ({type(error).__name__}): see the terminal of harness app."})

    def _refuse(self, status: int) -> None:
        # The body was not read, so the connection cannot be used again.
        self.close_connection = True
        self._send(status, {"error": self.refusals[status]})

    def _send(self, status: int, content: Mapping[str, Any]) -> None:
        body = json.dumps(_finite(content), allow_nan=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _finite(value: Any) -> Any:
    """Return JSON in which numbers that it cannot represent are null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
