"""Replies of a misbehaving OpenAI-compatible server that are sent as they are, by name."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any

VERDICT = json.dumps({"reasoning_a": "one thing", "reasoning_b": "many things", "answer": "A"})
JSON = ("Content-Type", "application/json")

Replies = dict[str, Callable[[str], bytes]]
"""Name -> function from the API key that the server received to the bytes of its reply."""


def http(body: str | bytes, status: str = "200 OK", headers: Sequence[tuple[str, str]] = (JSON,)) -> bytes:
    """Return a complete HTTP reply."""
    content = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), f"Content-Length: {len(content)}"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


def completion(content: Any = VERDICT, usage: Any = None, **choice: Any) -> str:
    """Return a chat completion."""
    message = {"role": "assistant", "content": content}
    choices = [{"index": 0, "message": message, "finish_reason": "stop", **choice}]
    return json.dumps({"choices": choices, "usage": usage or {"prompt_tokens": 9, "completion_tokens": 5}})


def _with_tokens(number: str) -> Callable[[str], bytes]:
    text = completion().replace('"prompt_tokens": 9', f'"prompt_tokens": {number}')
    return lambda key: http(text)


def _body(body: str | bytes, status: str = "200 OK") -> Callable[[str], bytes]:
    return lambda key: http(body, status)


def _content(content: Any) -> Callable[[str], bytes]:
    return lambda key: http(completion(content))


def _raw(data: bytes) -> Callable[[str], bytes]:
    return lambda key: data


def _charset(charset: str, body: bytes = completion().encode()) -> Callable[[str], bytes]:
    return lambda key: http(body, headers=[("Content-Type", f"application/json; charset={charset}")])


def _encoded(encoding: str, body: bytes) -> Callable[[str], bytes]:
    return lambda key: http(body, headers=[JSON, ("Content-Encoding", encoding)])


def _later(status: str, wait: str) -> Callable[[str], bytes]:
    return lambda key: http("{}", status, [JSON, ("Retry-After", wait)])


def _redirect(status: str, location: str) -> Callable[[str], bytes]:
    return lambda key: http("{}", status, [JSON, ("Location", location)])


def _echo(write: Callable[[str], str]) -> Callable[[str], bytes]:
    """Quote the key in the reasons of a valid verdict; ``write`` gives the text between JSON's quotation marks."""
    quoted = completion(VERDICT.replace("one thing", "KEY"))
    return lambda key: http(quoted.replace("KEY", write(key)))


def _escapes(key: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in key)


def _bomb(levels: int = 1) -> bytes:
    data = bytes(64 * 2**20)
    for _ in range(levels):
        data = gzip.compress(data, 1)
    return data


_RIGHT = completion()
_VALID_GZIP = gzip.compress(_RIGHT.encode())
_ELSEWHERE = "http://localhost:{elsewhere}/v1/chat/completions"

#: Replies that are odd but legible: the verdict in them may count.
LEGIBLE: Replies = {
    "right": _body(_RIGHT),
    **{f"charset {name}": _charset(name) for name in ("utf-16", "rot13", "zlib_codec", "idna", "hex", "mbcs", "none")},
    "byte order mark": _body(b"\xef\xbb\xbf" + _RIGHT.encode()),
    **{
        f"token count {number[:8]}": _with_tokens(number)
        for number in ("1" + "0" * 30, "1e999", "-5", "true", "NaN", "-Infinity", '"9"', "null", "[1]", "9.5")
    },
    "usage is a list": _body(completion(usage=[1])),
    "lone surrogates": _body(completion(VERDICT.replace("one", "\\ud800 one"))),
    "lone surrogates escaped once": lambda key: http(_RIGHT.replace("one thing", "\\ud83d one")),
    "NUL characters": _content(VERDICT.replace("one", "\\u0000 one")),
    "bidirectional text": _content(VERDICT.replace("one", "\u202eeno\u202c \u2066one")),
    "finish reason of 100 kB": _body(completion(finish_reason="x" * 100_000)),
    "finish reason is an object": _body(completion(finish_reason={"a": [1]})),
    "gzip": _encoded("gzip", _VALID_GZIP),
    "gzip and garbage": _encoded("gzip", _VALID_GZIP + b"garbage"),
    "pipelined second reply": _raw(http(_RIGHT) + http(completion(VERDICT.replace('"A"', '"B"')))),
    "pipelined garbage": _raw(http(_RIGHT) + b"\0garbage" * 1000),
    "90 cookies": lambda key: http(_RIGHT, headers=[JSON, *(("Set-Cookie", f"c{i}=v; Path=/") for i in range(90))]),
    "key in a header": lambda key: http(_RIGHT, headers=[JSON, ("X-Echo", f"Bearer {key}")]),
    "key in clear": _echo(lambda key: key),
    "key as JSON escapes": _echo(_escapes),
    "key as JSON escapes twice": _echo(lambda key: _escapes(key).replace("\\", "\\\\\\\\")),
    "key in percent encoding": _echo(lambda key: "".join(f"%{ord(character):02X}" for character in key)),
    "key as HTML entities": _echo(lambda key: "".join(f"&#{ord(character)};" for character in key)),
    "key in base64": _echo(lambda key: base64.b64encode(f"Authorization: Bearer {key}".encode()).decode()),
    "key in hexadecimal": _echo(lambda key: key.encode().hex()),
    "key in upper case": _echo(lambda key: f"BEARER {key.upper()}"),
    "key over two lines": _echo(lambda key: key[:4] + "\\\\n" + key[4:]),
    "key with invisible characters": _echo(lambda key: "\\u200b".join(key)),
    "key as finish reason": lambda key: http(completion(finish_reason=key)),
}

#: Replies without a verdict.
INVALID: Replies = {
    "nested arrays": _body("[" * 200_000),
    "nested objects": _body('{"a":' * 40_000),
    "nested usage": _body(_RIGHT[:-1] + ', "x": ' + "[" * 100_000 + "]" * 100_000 + "}"),
    "nested content": _content("[" * 15_000),
    "number of 5000 digits": _with_tokens("1" * 5000),
    "utf-16": _charset("utf-16", _RIGHT.encode("utf-16")),
    "invalid UTF-8": _body(_RIGHT.encode().replace(b"one", b"\xff\xfe\xc0")),
    "unescaped surrogates": _body(_RIGHT.replace("one", "\ud800")),
    "empty body": _body(b""),
    "no content": _raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "white space": _body(b" " * 200_000),
    "10 MB of content": _content(VERDICT + " " * 10_000_000),
    "200 kB of content": _content(VERDICT + " " * 200_000),
    "10 MB of digits": _body(b"1" * 10_000_000),
    **{f"body {text}": _body(text) for text in ("null", "1", "NaN", '"text"', "[]", "{}", "<html></html>", VERDICT)},
    **{
        f"choices {text[:20]}": _body(f'{{"choices": {text}}}')
        for text in ("null", "{}", "[]", '"A"', "[null]", '[{"message": null}]', '[{"message": {}}]', "[[1]]")
    },
    **{
        f"content is {type(content).__name__}": _content(content)
        for content in (None, 5, {"answer": "A"}, [{"type": "text", "text": VERDICT}])
    },
    "duplicate keys": lambda key: http('{"choices": [], ' + _RIGHT[1:]),
    "two answers": _content(VERDICT + VERDICT.replace('"A"', '"B"')),
    "look-alike of A": _content(VERDICT.replace('"A"', '"\u0410"')),
    "full-width A": _content(VERDICT.replace('"A"', '"\uff21"')),
    "many answers": _content('{"answer": "A", ' * 5000),
    "bait for a regular expression": _content('{"answer"' + " " * 16_000),
    "key in an error": lambda key: http(f'{{"error": "no: Bearer {key} {_escapes(key)}"}}', "400 Bad Request"),
    "key in an object": lambda key: http(f'{{"{_escapes(key)}": "{key}"}}'),
    **{
        f"status {status[:3]}": _body(_RIGHT, status)
        for status in ("300 Odd", "304 Same", "400 No", "418 Teapot", "501 No", "599 Odd", "999 Odd")
    },
    **{f"redirect {code}": _redirect(f"{code} Moved", _ELSEWHERE) for code in (301, 302, 303, 307, 308)},
    "redirect to itself": _redirect("307 Again", "/"),
    "redirect to nowhere": _redirect("302 Moved", "http://[::" + ":" * 30_000),
    "redirect to a file": _redirect("302 Moved", "file:///etc/passwd"),
    "gzip bomb": _encoded("gzip", _bomb()),
    "gzip bomb in gzip": _encoded("gzip, gzip", _bomb(2)),
    "gzip bomb in gzip, said once": _encoded("gzip", _bomb(2)),
    "deflate bomb": _encoded("deflate", zlib.compress(bytes(32 * 2**20), 1)),
    "five gzip encodings": _encoded(", ".join(["gzip"] * 5), _bomb()),
    "gzip cut off": _encoded("gzip", _VALID_GZIP[:-12]),
    "gzip garbage": _encoded("gzip", b"no gzip at all" * 10),
    **{f"encoding {name}": _encoded(name, _VALID_GZIP) for name in ("br", "zstd", "compress", "chunked", "x" * 9000)},
    "200 headers": lambda key: http(_RIGHT, headers=[JSON, *((f"X-{i}", "v") for i in range(200))]),
}

#: Replies that are none: the call is repeated, and after some of them stored as one without a reply.
BROKEN: Replies = {
    **{
        f"{status[:3]}, retry after {wait[:12]}": _later(status, wait)
        for status, waits in {
            "429 Busy": ("-5", "1000000000", "nan", "inf", "soon", "1" * 5000),
            "503 Busy": ("Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "1e308", "\x00"),
        }.items()
        for wait in waits
    },
    "500": _body("{}", "500 Broken"),
    "switching protocols": _raw(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + b"x" * 9000),
    "40,000 headers": _raw(b"HTTP/1.1 200 OK\r\n" + b"a:b\r\n" * 40_000 + b"\r\n"),
    "header without end": _raw(b"HTTP/1.1 200 OK\r\nX-A: " + b"x" * 1_000_000),
    "header with NUL": _raw(b"HTTP/1.1 200 OK\r\nX-A: \0\r\nContent-Length: 0\r\n\r\n"),
    "folded headers": _raw(b"HTTP/1.1 200 OK\r\nX-A: b\r\n" + b" x\r\n" * 100_000),
    "content length too long": _raw(http(_RIGHT).replace(b"Content-Length: ", b"Content-Length: 9")),
    "content length negative": _raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
    "content length of 5000 digits": _raw(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n{}"),
    "two content lengths": _raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} "),
    "chunk of 2^64 bytes": _raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}"),
    "negative chunk": _raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n"),
    "chunk without end": _raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}"),
    "unknown transfer encoding": _raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}"),
    "garbage": _raw(b"\x16\x03\x01\x00garbage" * 1000),
    "HTTP/0.9": _raw(_RIGHT.encode()),
    "HTTP/2": _raw(b"\0\0\x12\x04\0\0\0\0\0" + bytes(18)),
    "status line of 1 MB": _raw(b"HTTP/1.1 200 " + b"O" * 1_000_000),
    "nothing": _raw(b""),
    "a line feed": _raw(b"\n"),
}
