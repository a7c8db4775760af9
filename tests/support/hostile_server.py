"""An OpenAI-compatible server on this machine that misbehaves by name: real sockets, one thread.

The path of a request chooses the misbehaviour, so one server shows all of them at once::

    with hostile_server() as server:
        judge = OpenAIJudge("m", OpenAIOptions(base_url=server.url("gzip bomb")))

``MISBEHAVIOURS`` lists the names. ``LEGIBLE`` of them may give a verdict; all others are invalid or no reply.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from hostile_replies import BROKEN, INVALID, LEGIBLE, VERDICT, completion, http

__all__ = ["LEGIBLE", "MISBEHAVIOURS", "STREAMS", "HostileServer", "completion", "hostile_server"]

_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_ENDLESS = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
_BLOCK = b"x" * 2**16
#: One MiB of zeros as a block of deflate that may be repeated.
_ZEROS = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
_ZERO_BLOCK = _ZEROS.compress(bytes(2**20)) + _ZEROS.flush(zlib.Z_FULL_FLUSH)
_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_NAMED_GZIP_HEADER = b"\x1f\x8b\x08\x08\0\0\0\0\0\xff"

Stream = Callable[[asyncio.StreamWriter], Awaitable[None]]


def _forever(start: bytes, piece: bytes) -> Stream:
    """Send a beginning, and then a piece for ever, as fast as it is read."""

    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(piece)
            await writer.drain()

    return send


def _drip(start: bytes, piece: bytes, pause: float = 0.02) -> Stream:
    """Send a beginning, and then a piece again and again, slowly."""

    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            await asyncio.sleep(pause)
            writer.write(piece)
            await writer.drain()

    return send


async def _silence(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


def _reset(start: bytes) -> Stream:
    """Send a beginning, and reset the connection."""

    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        await writer.drain()
        await asyncio.sleep(0.02)
        accepted = writer.get_extra_info("socket")
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return send


_GZIPPED = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n"

#: Replies that are sent piece by piece. None of them ends as a complete reply.
STREAMS: dict[str, Stream] = {
    "endless body": _forever(_ENDLESS, _BLOCK),
    "endless white space": _forever(_ENDLESS, b" " * 2**16),
    "endless JSON array": _forever(_ENDLESS + b"[", b"[]," * 20_000),
    "endless verdict": _forever(_ENDLESS + completion().encode()[:-1], b" " * 2**16),
    "endless chunks": _forever(_CHUNKED, b"10000\r\n" + _BLOCK + b"\r\n"),
    "endless chunks of one byte": _forever(_CHUNKED, b"1\r\nx\r\n" * 8000),
    "endless chunk extension": _forever(_CHUNKED + b"1;", _BLOCK),
    "long chunk extensions": _forever(_CHUNKED, (b"1;" + b"x" * 60_000 + b"\r\nx\r\n")),
    "endless trailers": _forever(_CHUNKED + b"2\r\n{}\r\n0\r\n", b"X-A: b\r\n" * 1000),
    "endless headers": _forever(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 1000),
    "endless header": _forever(b"HTTP/1.1 200 OK\r\nX-A: ", _BLOCK),
    "endless status line": _forever(b"HTTP/1.1 200 ", _BLOCK),
    "endless cookies": _forever(b"HTTP/1.1 200 OK\r\n", b"Set-Cookie: a=b; Path=/\r\n" * 1000),
    "endless 100 Continue": _forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "endless 103 Early Hints": _forever(b"", (b"HTTP/1.1 103 Early\r\n" + b"Link: x\r\n" * 500 + b"\r\n") * 5),
    "endless gzip bomb": _forever(_GZIPPED + _GZIP_HEADER, _ZERO_BLOCK * 16),
    "endless gzip header": _forever(_GZIPPED + _NAMED_GZIP_HEADER, _BLOCK),
    "endless empty gzip blocks": _forever(_GZIPPED + _GZIP_HEADER, b"\0\0\0\xff\xff" * 10_000),
    "dripping body": _drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{", b" "),
    "dripping headers": _drip(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
    "dripping header": _drip(b"HTTP/1.1 200 OK\r\nX-A: ", b"x"),
    "dripping status line": _drip(b"HTTP/1.1 200 ", b"O"),
    "dripping chunk extension": _drip(_CHUNKED + b"1;", b"x"),
    "dripping 100 Continue": _drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "dripping gzip": _drip(_GZIPPED + _GZIP_HEADER, _ZERO_BLOCK),
    "silence": _silence,
    "silence after the headers": _drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"", 10.0),
    "silence in a chunk": _drip(_CHUNKED + b"100\r\n{", b"", 10.0),
    "reset": _reset(b""),
    "reset in the headers": _reset(b"HTTP/1.1 200 OK\r\nContent-"),
    "reset in the body": _reset(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + VERDICT.encode()),
}

#: Names of all misbehaviours ("right" is one, for comparison).
MISBEHAVIOURS: tuple[str, ...] = (*LEGIBLE, *INVALID, *BROKEN, *STREAMS)


@dataclass
class HostileServer:
    """Addresses of a running server, and what it received."""

    port: int = 0
    elsewhere: int = 0
    """port of the other host, to which redirects lead"""
    asked: Counter[str] = field(default_factory=Counter)
    """number of requests by misbehaviour"""
    elsewhere_received: list[bytes] = field(default_factory=list)
    """requests that reached the other host; a client must send none"""
    _left: dict[str, int] = field(default_factory=dict)

    def url(self, name: str, times: int | None = None) -> str:
        """Return a base_url at which the server misbehaves, at first ``times`` times only, and rightly afterwards."""
        if name not in MISBEHAVIOURS:
            raise KeyError(name)
        return f"http://127.0.0.1:{self.port}/{quote(name, safe='')}/{'' if times is None else times}/v1"

    def misbehaviour(self, target: str) -> str:
        """Return what a request to a path gets, and count it."""
        name, times = (unquote(part) for part in target.split("/")[1:3])
        self.asked[name] += 1
        if times and (self._left.setdefault(target, int(times)) <= 0):
            return "right"
        if times:
            self._left[target] -= 1
        return name


async def _request(reader: asyncio.StreamReader) -> tuple[str, str]:
    """Read a request, and return its path and the key in its authorization."""
    if (method := await reader.readexactly(4)) != b"POST":  # the beginning of TLS, for example
        raise ConnectionError
    head = (method + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    await reader.readexactly(int(headers.get("content-length", 0)))
    return head[0].split(" ")[1], headers.get("authorization", "").removeprefix("Bearer ")


async def _misbehave(server: HostileServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, asyncio.IncompleteReadError):
        while True:
            target, key = await _request(reader)
            name = server.misbehaviour(target)
            if name in STREAMS:
                await STREAMS[name](writer)
                break
            data = {**LEGIBLE, **INVALID, **BROKEN}[name](key)
            writer.write(data.replace(b"{elsewhere}", str(server.elsewhere).encode()))
            await writer.drain()
            if name in BROKEN:
                break
    writer.close()


async def _serve(server: HostileServer, started: threading.Event, stop: asyncio.Event) -> None:
    async def misbehave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled when the server stops, which asyncio would report as an error.
        with suppress(asyncio.CancelledError):
            await _misbehave(server, reader, writer)

    async def record(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.elsewhere_received.append(await reader.read(2**16))
        writer.write(http(completion()))
        writer.close()

    hostile = await asyncio.start_server(misbehave, "127.0.0.1", 0, limit=2**22)
    other = await asyncio.start_server(record, "127.0.0.1", 0)
    server.port, server.elsewhere = (opened.sockets[0].getsockname()[1] for opened in (hostile, other))
    started.set()
    await stop.wait()
    hostile.close()
    other.close()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def hostile_server() -> Iterator[HostileServer]:
    """Run a server for the duration of the context, in one thread."""
    server, started, stop = HostileServer(), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    def run() -> None:
        loop.run_until_complete(_serve(server, started, stop))
        loop.close()

    thread = threading.Thread(target=run, name="hostile server", daemon=True)
    thread.start()
    started.wait()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
