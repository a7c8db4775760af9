"""Replies of judges: a server on this machine that answers with odd bytes, slowly, or without end."""

from __future__ import annotations

import contextlib
import functools
import gzip
import json
import random
import shutil
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from chaos.case import Bounds, Case, Done
from chaos.small_inputs import copy_finished_run, finished_run, use_support
from chaos.store_content import content

ORDER = 6
N_MUTATED = 40
_KEY = "sk-never-stored-0123456789"
_TIMEOUT_S = 2

_VERDICT = {"reasoning_a": "dogs", "reasoning_b": "nothing", "answer": "A"}
_BODY = {
    "choices": [{"message": {"content": json.dumps(_VERDICT)}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 4},
}

#: Sends the reply to one request; may end the connection at any time.
Behaviour = Callable[[socket.socket], None]


def _http(body: bytes, *, status: str = "200 OK", headers: str = "", kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body


def _saying(text: object) -> bytes:
    """Return the reply of a server whose model says ``text``."""
    return json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}).encode()


_RIGHT = json.dumps(_BODY).encode()
_ECHO = json.dumps({"error": {"message": f"wrong key {_KEY}"}}).encode()
_ESCAPED = "".join(f"\\u{ord(letter):04x}" for letter in _KEY)


def _usage(**counts: object) -> bytes:
    return _http(json.dumps({**_BODY, "usage": counts}).encode())


def _gzip_bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.flush()
    return _http(packed, headers="Content-Encoding: gzip\r\n")


#: Replies of a fixed number of bytes.
_BYTES: dict[str, Callable[[], bytes]] = {
    "right": lambda: _http(_RIGHT),
    "nothing": lambda: b"",
    "no body": lambda: _http(b""),
    "not HTTP": lambda: b"220 smtp.example ESMTP\r\n",
    "null": lambda: _http(b"null"),
    "a list": lambda: _http(b"[]"),
    "a number": lambda: _http(b"7"),
    "NaN": lambda: _http(b"NaN"),
    "nested lists": lambda: _http(b"[" * 200_000),
    "nested objects": lambda: _http(b'{"a":' * 100_000),
    "nested lists in the content": lambda: _http(_saying("[" * 200_000)),
    "nested objects in the content": lambda: _http(_saying('{"answer":' * 50_000)),
    "a number of a million digits": lambda: _http(b'{"choices": ' + b"9" * 1_000_000 + b"}"),
    "content is a number": lambda: _http(_saying(7)),
    "content is a list": lambda: _http(_saying([{"type": "text", "text": "A"}])),
    "content is null": lambda: _http(_saying(None)),
    "content of control characters": lambda: _http(_saying("\x00\x1b[31m\u202e" * 100)),
    "content of a lone surrogate": lambda: _http(b'{"choices":[{"message":{"content":"\\ud800"}}]}'),
    "content of 20 MB": lambda: _http(_saying("x" * 20_000_000)),
    "choices are empty": lambda: _http(b'{"choices": []}'),
    "choices are an object": lambda: _http(b'{"choices": {"0": 1}}'),
    "finish reason is an object": lambda: _http(_RIGHT.replace(b'"stop"', b'{"a": [1]}')),
    "token counts of 10^30": lambda: _usage(prompt_tokens=10**30, completion_tokens=10**30),
    "token counts below 0": lambda: _usage(prompt_tokens=-5, completion_tokens=-(2**70)),
    "token counts of text": lambda: _usage(prompt_tokens="many", completion_tokens=[1]),
    "token counts true": lambda: _usage(prompt_tokens=True, completion_tokens=1.5),
    "usage is a list": lambda: _http(_RIGHT.replace(b'"usage": {', b'"usage": [], "x": {')),
    **{
        f"charset {name}": functools.partial(lambda name: _http(_RIGHT, kind=f"application/json; charset={name}"), name)
        for name in ("utf-16", "utf-7", "rot13", "zlib_codec", "hex", "idna", "punycode", "nothing", "\xff")
    },
    "not UTF-8": lambda: _http(b"\xff\xfe" + _RIGHT),
    "byte order mark": lambda: _http(b"\xef\xbb\xbf" + _RIGHT),
    "key echoed": lambda: _http(_ECHO, status="400 Bad Request"),
    "key echoed as a reply": lambda: _http(_saying(f"your key is {_KEY}")),
    "key echoed in escapes": lambda: _http(b'{"choices":[{"message":{"content":"' + _ESCAPED.encode() + b'"}}]}'),
    "key echoed in the reason": lambda: _http(_RIGHT.replace(b'"stop"', json.dumps(_KEY).encode())),
    "gzip of garbage": lambda: _http(b"\x1f\x8bgarbage", headers="Content-Encoding: gzip\r\n"),
    "gzip cut off": lambda: _http(gzip.compress(_RIGHT)[:-9], headers="Content-Encoding: gzip\r\n"),
    "gzip bomb of 2 GB": lambda: _gzip_bomb(2_000_000_000),
    "unknown encoding": lambda: _http(_RIGHT, headers="Content-Encoding: magic\r\n"),
    "length too large": lambda: _http(_RIGHT).replace(b"Content-Length: ", b"Content-Length: 9"),
    "length below 0": lambda: _http(_RIGHT).replace(b"Content-Length: ", b"Content-Length: -"),
    "chunks of garbage": lambda: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    "redirect to itself": lambda: _http(b"", status="307 T", headers="Location: /v1/chat/completions\r\n"),
    "redirect to a file": lambda: _http(b"", status="302 F", headers="Location: file:///etc/passwd\r\n"),
    "wait of a year": lambda: _http(b"", status="429 Busy", headers="Retry-After: 31536000\r\n"),
    "wait of NaN": lambda: _http(b"", status="429 Busy", headers="Retry-After: nan\r\n"),
    "status 999": lambda: _http(_RIGHT, status="999 Odd"),
    "status 500": lambda: _http(b"<html>oops</html>", status="500 Error", kind="text/html"),
    "status 401": lambda: _http(_ECHO, status="401 Unauthorized"),
    "status 204": lambda: b"HTTP/1.1 204 No Content\r\n\r\n",
    "status 101": lambda: b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "100 000 headers": lambda: b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 100_000 + b"\r\n",
    "header of 1 MB": lambda: _http(_RIGHT, headers=f"X-A: {'b' * 1_000_000}\r\n"),
}


def _endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        connection.sendall(b"[" * 65_536)


def _endless_chunks(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + b" " * 65_536 + b"\r\n")


def _drip(connection: socket.socket) -> None:
    for byte in _http(_RIGHT) * 1000:
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


def _silent(connection: socket.socket) -> None:
    time.sleep(600)


def _endless_headers(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-A: " + b"b" * 1000 + b"\r\n")


#: Replies that never end.
_STREAMS: dict[str, Behaviour] = {
    "endless body": _endless,
    "endless chunks": _endless_chunks,
    "endless headers": _endless_headers,
    "one byte at a time": _drip,
    "silence": _silent,
}


def cases(seed: int) -> Iterator[Case]:
    """Yield the named replies, and random mutations of a right one."""
    use_support()
    finished_run()
    for name, content_of in _BYTES.items():
        yield _case(name, functools.partial(_send, content_of))
    for name, behaviour in _STREAMS.items():
        yield _case(name, behaviour)
    for number in range(N_MUTATED):
        data = _mutated(random.Random(f"{seed} {number}"))
        yield _case("mutated reply", functools.partial(_send, functools.partial(bytes, data)))


def _mutated(draw: random.Random) -> bytes:
    body = bytearray(_RIGHT if draw.random() < 0.5 else json.dumps(_VERDICT).encode())
    for _ in range(draw.choice([1, 1, 3])):
        at = draw.randrange(len(body))
        kind = draw.randrange(4)
        if kind == 0:
            body[at] = draw.randrange(256)
        elif kind == 1:
            body[at:at] = draw.choice([b'"', b"{", b"}", b"[", b"\\", b"\\u0000", b"1e999", b"\x00", b"\xf0\x9f"])
        elif kind == 2:
            del body[at : at + draw.randrange(1, 9)]
        else:
            del body[at + 1 :]
    if not bytes(body).lstrip().startswith(b'{"ch'):
        return _http(_saying(body.decode("utf-8", "replace")))
    return _http(bytes(body))


def _send(content_of: Callable[[], bytes], connection: socket.socket) -> None:
    connection.sendall(content_of())


def _case(name: str, behaviour: Behaviour) -> Case:
    asked: list[socket.socket] = []
    # Bound here, so that the address is known before the case starts.
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"

    def arrange(folder: Path) -> None:
        copy_finished_run(folder)
        judging = (
            f'\n[judging]\npanel = "openai"\npairs = 1\ncontrols = 0\nmin_images = 2\n'
            f'judges = [{{ name = "m", base_url = "{url}" }}]\n'
            f"options = {{ timeout_s = {_TIMEOUT_S}, tries = 1, concurrency = 4 }}\n"
        )
        with (folder / "suite.toml").open("a") as suite:
            suite.write(judging)
        shutil.rmtree(folder / "cache", ignore_errors=True)
        threading.Thread(target=_serve, args=(listener, behaviour, asked), daemon=True).start()

    return Case(
        name,
        arrange,
        (("judge", "--suite", "suite.toml", "--store", "out/results.duckdb"),),
        bounds=Bounds(40, 400),
        environment={"OPENAI_API_KEY": _KEY, "NO_PROXY": "*"},
        examine=functools.partial(_examine, asked),
    )


def _serve(listener: socket.socket, behaviour: Behaviour, asked: list[socket.socket]) -> None:
    while True:
        connection, _ = listener.accept()
        asked.append(connection)
        threading.Thread(target=_reply, args=(connection, behaviour), daemon=True).start()


def _reply(connection: socket.socket, behaviour: Behaviour) -> None:
    with connection, contextlib.suppress(OSError):
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(65_536)
        head, _, body = request.partition(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-l"))
        while len(body) < length:
            body += connection.recv(65_536)
        behaviour(connection)


def _examine(asked: Sequence[socket.socket], folder: Path, done: Sequence[Done]) -> Iterator[str]:
    if not asked:
        yield "the server was not asked"
    stored = content(folder / "out" / "results.duckdb")
    if _KEY in repr(stored) or _KEY in repr(done):
        yield "the key of the server was stored or printed"
