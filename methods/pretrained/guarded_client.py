"""HTTP client of huggingface_hub for answers of anybody: bodies of bounded size, headers that are safe as file names.

The Hub's own client reads an answer of any length, and makes names of files of some headers. Both are checked here in
each answer that the client gets, so an answer cannot change after it was checked.
"""

from __future__ import annotations

import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: Largest list of files of a repository, and largest text of an error, in bytes.
MOST_LISTING, MOST_ERROR = 16 << 20, 1 << 20

_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}(?:[.-][A-Za-z0-9_-]{1,64}){0,4}")
#: Headers of which the client makes names of files in its cache.
_NAMES = ("etag", "x-linked-etag", "x-repo-commit", "x-xet-hash")
#: The client's factory is one for the process.
_lock = threading.RLock()


@contextmanager
def guarded_client(hub: Any, most_bytes: int, too_large: Callable[[], Exception]) -> Iterator[None]:
    """Let the client refuse unsafe answers within the context.

    Args:
        hub: the module ``huggingface_hub``.
        most_bytes: largest body of an answer that is no error.
        too_large: returns what is raised for a larger one.

    Raises:
        ValueError: in the context, by a request whose answer no hub gives.
    """
    factories = hub.utils._http

    def guard(response: Any) -> None:
        _require_plain(response)
        limit, error = (most_bytes, too_large) if response.is_success else (MOST_ERROR, _too_long)
        sizes = [response.headers.get(name, "0") for name in ("content-length", "x-linked-size")]
        if any(not size.isdecimal() or int(size) > limit for size in sizes):
            raise error()
        response.stream = _bounded(response.stream, limit, error)

    def guarded() -> Any:
        client = previous()
        hooks = client.event_hooks
        client.event_hooks = {"request": [*hooks["request"], _ask_plain], "response": [*hooks["response"], guard]}
        return client

    with _lock:
        # A factory, because the client is made anew after some errors.
        previous = getattr(factories, "_GLOBAL_CLIENT_FACTORY", factories.default_client_factory)
        hub.set_client_factory(guarded)
        try:
            yield
        finally:
            hub.set_client_factory(previous)


def _ask_plain(request: Any) -> None:
    # Some kilobytes that are compressed can be gigabytes.
    request.headers["Accept-Encoding"] = "identity"


def _require_plain(response: Any) -> None:
    headers = response.headers
    if headers.get("content-encoding", "identity") != "identity":
        raise ValueError("the answer is compressed, which nobody asked for")
    if urllib.parse.urlparse(headers.get("location", "")).scheme not in ("", "http", "https"):
        raise ValueError("the file is redirected to an address that is not of the web")
    if response.request.method == "HEAD":
        for name in _NAMES:
            value = headers.get(name)
            if value is not None and not _NAME.fullmatch(value.removeprefix("W/").strip('"')):
                raise ValueError(f"the header {name} has a form that no hub gives")


def _too_long() -> Exception:
    return ValueError(f"the text of an error has more than {MOST_ERROR} bytes")


def _bounded(stream: Any, limit: int, error: Callable[[], Exception]) -> Any:
    """Return a stream of an answer that ends with an error at its limit."""
    # Of httpx or httpx2, whichever the client uses.
    base = next(one for one in type(stream).__mro__ if one.__name__ == "SyncByteStream")

    class Bounded(base):  # type: ignore[misc, valid-type]
        def __iter__(self) -> Iterator[bytes]:
            received = 0
            for chunk in stream:
                received += len(chunk)
                if received > limit:
                    raise error()
                yield chunk

        def close(self) -> None:
            stream.close()

    return Bounded()
