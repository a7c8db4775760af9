"""An OpenAI-compatible server on this machine that answers rightly, slowly, wrongly, or not at all."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

RIGHT = json.dumps({"reasoning_a": "one thing", "reasoning_b": "many things", "answer": "A"})

#: What a question gets, by its number; each may depend on how often it was asked.
Behaviour = Callable[[int], str]
#: The text of a right reply to the body of a request.
Answer = Callable[[dict[str, Any]], str]


class Server:
    """Counts what it was asked; ``seen`` by pictures and text, ``at_once`` the most requests open together."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.url = ""
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.seen: Counter[str] = Counter()
        self.said: Counter[str] = Counter()
        self.numbers: dict[str, int] = {}
        self.open = self.at_once = 0
        self.lock = threading.Lock()


@contextmanager
def serving(behaviour: Behaviour, answer: Answer = lambda body: RIGHT) -> Iterator[Server]:
    server = Server(behaviour)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = " ".join(str(hash(json.dumps(part))) for part in body["messages"][0]["content"])
            with server.lock:
                server.bodies.append(body)
                server.headers.append({key.lower(): value for key, value in self.headers.items()})
                server.seen[name] += 1
                number = server.numbers.setdefault(name, len(server.numbers))
                server.open += 1
                server.at_once = max(server.at_once, server.open)
                how = behaviour(number) if server.seen[name] == 1 else behaviour(-number - 1) or behaviour(number)
            try:
                self.act(how, answer(body))
                with server.lock:
                    server.said[name] += how in ("right", "slow")
            finally:
                with server.lock:
                    server.open -= 1

        def act(self, how: str, right: str) -> None:
            if how == "slow":
                time.sleep(0.3)
            if how == "hangs":
                time.sleep(1.2)
            if how == "drops":
                self.close_connection = True
                self.connection.close()
                return
            if how.isdigit():
                return self.reply(int(how), {"error": {"message": f"no: {self.headers.get('Authorization')}"}})
            content, reason = {
                "truncated": ('{"reasoning_a": "a long story about', "length"),
                "cut after": (right[:-1], "length"),
                "prose": ("Grid A is more coherent.", "stop"),
                "wrong keys": ('{"winner": "A"}', "stop"),
            }.get(how, (right, "stop"))
            message = {"role": "assistant", "content": content}
            shape = {"choices": [{"message": message, "finish_reason": reason}], "usage": {"prompt_tokens": 9}}
            if how == "drips":
                return self.drip(json.dumps(shape).encode())
            self.reply(200, {"something": "else"} if how == "no completion" else shape)

        def reply(self, status: int, content: dict[str, Any]) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            if status == 429:
                self.send_header("Retry-After", "0.05")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def drip(self, data: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            for byte in data[:8]:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.2)

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *arguments: object) -> None:
            pass

    http = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def picture_size(url: str) -> tuple[int, int]:
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return image.size
