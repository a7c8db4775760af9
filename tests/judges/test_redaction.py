"""The API key is found in every form that a server can easily write, and nothing else is replaced."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judges.chat_completion import read_completion
from judges.parsing import parse_reply
from judges.redaction import redactor

KEY = "sk-proj-Ab3/9+x_Zq7Zq7Zq8"

FORMS: dict[str, Callable[[str], str]] = {
    "clear": str,
    "upper case": str.upper,
    "JSON": lambda key: "".join(f"\\u{ord(c):04x}" for c in key),
    "JSON in JSON": lambda key: "".join(f"\\\\u{ord(c):04X}" for c in key),
    "every second": lambda key: "".join(c if i % 2 else f"\\u{ord(c):04x}" for i, c in enumerate(key)),
    "JavaScript": lambda key: "".join(f"\\u{{{ord(c):x}}}" for c in key),
    "Python": lambda key: "".join(f"\\x{ord(c):02x}" for c in key),
    "URL": lambda key: "".join(f"%{ord(c):02x}" for c in key),
    "URL in URL": lambda key: "".join(f"%25{ord(c):02X}" for c in key),
    "quoted URL": lambda key: quote(key, safe=""),
    "HTML": lambda key: "".join(f"&#{ord(c)};" for c in key),
    "HTML hexadecimal": lambda key: "".join(f"&#x{ord(c):X};" for c in key),
    "quoted-printable": lambda key: "".join(f"={ord(c):02X}" for c in key),
    "one character per line": "\n".join,
    "folded": lambda key: f"{key[:5]}\r\n {key[5:]}",
    "escaped lines": "\\n".join,
    "invisible characters": "\u200b".join,
    "JSON parts": lambda key: '", "'.join([key[:5], key[5:]]),
    "hexadecimal": lambda key: key.encode().hex(),
    "octal": lambda key: "".join(f"\\{ord(c):03o}" for c in key),
    "JSON in JSON, four times": lambda key: "".join("\\" * 8 + f"u{ord(c):04x}" for c in key),
    "old JavaScript": lambda key: "".join(f"%u{ord(c):04X}" for c in key),
    "HTML names": lambda key: key.replace("/", "&sol;").replace("+", "&plus;").replace("_", "&lowbar;"),
    "escaped invisible characters": "\\u200b".join,
    "list of hexadecimal numbers": lambda key: ", ".join(f"0x{ord(c):02x}" for c in key),
    "hexadecimal with colons": lambda key: key.encode().hex(":"),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_replaced(form: str) -> None:
    assert redactor(KEY)(f"before {FORMS[form](KEY)} after") == "before *** after"


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=60))
def test_any_key_is_replaced(key: str) -> None:
    redact = redactor(key)
    for form in ("clear", "JSON", "URL", "HTML", "hexadecimal"):
        assert FORMS[form](key) not in redact(f"<{FORMS[form](key)}>")
    assert json.dumps(key) not in redact(json.dumps([key]))


@pytest.mark.parametrize("before", ["", "B", "Bearer ", "Basic: ", "Authorization: Bearer "])
def test_base64_is_replaced_at_every_alignment(before: str) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes):
        text = redactor(KEY)(encode(f"{before}{KEY} and more".encode()).decode())
        rest = base64.b64decode(text.replace("\n", "").partition("***")[0] + "==", altchars=b"-_")
        assert "***" in text and len(rest) <= len(before) and KEY[:2].encode() not in rest


def test_placeholders_and_ordinary_text_stay() -> None:
    text = json.dumps({"reasoning_a": "EMPTY grid, no key; sk-proj is a prefix", "answer": "A"})
    assert redactor("A")(text) == redactor("x")(text) == redactor("")(text) == redactor(KEY)(text) == text
    assert redactor("empty")(text) == text and redactor("EMPTY")("EMPTY") == "***"


@pytest.mark.parametrize("piece", ["s", "\\", "%25", "&amp;", "\\u0", "s ", "c2st", "73", KEY[:-1], "\\n", "sk-proj-"])
def test_no_text_takes_long(piece: str) -> None:
    redact = redactor(KEY * 4)
    started = time.perf_counter()
    redact(piece * (25_000 // len(piece)))
    assert time.perf_counter() - started < 1


def test_a_long_text_is_cut_where_it_was_cut_before_the_replacement() -> None:
    redact = redactor(KEY)
    for offset in range(len(KEY)):
        text = "x" * offset + KEY * 1000
        for length in (1, 100, 2000):
            assert KEY[:4] not in redact.start(text, length) and redact.start(text, length).startswith(
                "x" * min(offset, 1)
            )
    assert redact.start("abc" + FORMS["JSON in JSON"](KEY), 5) == "abc***"
    assert redact.start("abcdef", 4) == redactor("").start("abcdef", 4) == "abcd"


@pytest.mark.parametrize("status", [200, 400])
def test_no_part_of_a_repeated_key_is_kept_at_the_end_of_a_reply(status: int) -> None:
    for offset in range(0, len(KEY), 3):
        content = '{"answer": "A", "reasoning_a": "' + "x" * offset + KEY * 3000
        body = json.dumps({"choices": [{"message": {"content": content}, "finish_reason": "x" * offset + KEY * 300}]})
        answered = read_completion(status, body.encode(), redactor(KEY))
        assert answered.text is not None and KEY[:4] not in answered.text + answered.finish_reason
        assert not parse_reply(answered.text).valid
