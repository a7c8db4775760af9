"""Bounded reading of HTTP replies: whatever a server sends, only so many bytes and headers are taken."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from http.cookiejar import CookieJar
from typing import Any, Protocol

#: Bytes of a body as sent, and again after decompression. A reply of 512 tokens has a few kilobytes.
MAX_BODY_BYTES = 256 * 1024
#: Pieces (chunks) of a body: tiny ones cost far more time than their bytes.
MAX_PIECES = 10_000
#: Headers of a reply. Their size is bounded by the HTTP library, to 100 kB and one read of 64 kB.
MAX_HEADERS = 100
#: Sent with every request: servers need not compress some hundred bytes.
ACCEPT = {"Accept": "application/json", "Accept-Encoding": "identity"}
# 16 + the largest window: zlib's code for gzip.
_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class Response(Protocol):
    """Parts of ``httpx2.Response`` that are read here."""

    @property
    def headers(self) -> Any: ...

    def aiter_raw(self) -> AsyncIterator[bytes]: ...


class UnusableBody(Exception):
    """A reply came, but its body is not read to the end; ``start`` is its beginning, as far as it is legible."""

    def __init__(self, reason: str, start: bytes = b"") -> None:
        super().__init__(reason)
        self.reason, self.start = reason, start


class NoCookies(CookieJar):
    """Cookie jar that keeps nothing: cookies of all replies together would have no bound."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        return


async def read_body(response: Response) -> bytes:
    """Return the body of a response, decompressed.

    Time is not bounded here, but other tasks, such as a timeout, run in between.

    Raises:
        UnusableBody: too many headers or pieces, too many bytes before or after decompression, or an encoding that
            cannot be decompressed within a bound.
    """
    if len(response.headers.raw) > MAX_HEADERS:
        raise UnusableBody(f"more than {MAX_HEADERS} headers")
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", *_WINDOWS):
        raise UnusableBody("in a content encoding that was not asked for")
    body = bytearray()
    n_pieces = 0
    # The library's own decompression is not used: it has a bound per piece, but none in total, and stacks encodings.
    async for piece in response.aiter_raw():
        body += piece
        n_pieces += 1
        if n_pieces > MAX_PIECES:
            raise UnusableBody(f"more than {MAX_PIECES} chunks")
        if n_pieces % 64 == 0:
            # The library waits only for the network, and one read may contain thousands of chunks.
            await asyncio.sleep(0)
        if len(body) > MAX_BODY_BYTES:
            raise UnusableBody(f"more than {MAX_BODY_BYTES} bytes", b"" if encoding in _WINDOWS else bytes(body))
    return _decompressed(bytes(body), _WINDOWS[encoding]) if encoding in _WINDOWS else bytes(body)


def _decompressed(body: bytes, window: int) -> bytes:
    decoder = zlib.decompressobj(window)
    try:
        content = decoder.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise UnusableBody("compressed data that cannot be read") from error
    if len(content) > MAX_BODY_BYTES:
        raise UnusableBody(f"more than {MAX_BODY_BYTES} bytes after decompression", content)
    if not decoder.eof:
        raise UnusableBody("compressed data that end early", content)
    return content
