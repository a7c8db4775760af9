"""The text of a document: one form per content, one line per score, nothing hidden."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.errors import StoreError
from results.submissions.text import MAX_DEPTH, parse, render

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=20,
)


def test_a_score_is_one_line_and_keys_are_sorted() -> None:
    text = render({"scores": {"r2@1": {"value": 0.5, "n": 3}, "kl@1": {"value": 0.1}}, "steps": [*range(100)]})
    lines = text.splitlines()
    assert lines[:4] == ["{", ' "scores": {"kl@1": {"value": 0.1}, "r2@1": {"n": 3, "value": 0.5}},', *lines[2:4]]
    assert lines[2].startswith(' "steps": [0, 1, 2') and lines[3] == "}"


def test_one_changed_value_is_one_changed_line() -> None:
    scores = {f"metric_{number}@1": {"value": number / 7, "unit": "fraction", "n": 3} for number in range(20)}
    before = render({"scores": scores}).splitlines()
    scores["metric_7@1"]["value"] = 0.25
    after = render({"scores": scores}).splitlines()
    assert sum(first != second for first, second in zip(before, after, strict=True)) == 1


@given(st.dictionaries(st.text(max_size=9), VALUES, max_size=5))
def test_every_content_comes_back(content: dict[str, Any]) -> None:
    text = render(content)
    assert parse(text.encode("utf-8", "backslashreplace")) == content
    assert render(parse(text.encode("utf-8", "backslashreplace"))) == text


@pytest.mark.parametrize("sign", ["\u202e", "\x1b", "\u200b", "\ud800", "\u2028", "\U000e0041"])
def test_hidden_characters_are_escaped(sign: str) -> None:
    text = render({"label": f"a{sign}b"})
    assert text.isascii()
    assert json.loads(text)["label"] == f"a{sign}b"
    assert "ä" in render({"label": "ä"})


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe{}", "UTF-8"),
        (b"\xef\xbb\xbf{}", "valid JSON"),
        (b"{", "valid JSON"),
        (b"[]", "JSON object"),
        (b"", "valid JSON"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "5000 digits"),
        (nested(MAX_DEPTH + 2).encode(), "levels deep"),
        (b'{"a":' * 200_000, "levels deep"),
        (b"[" * 200_000, "levels deep"),
    ],
)
def test_odd_json_is_refused_in_words(content: bytes, words: str) -> None:
    with pytest.raises(StoreError, match=words):
        parse(content)


def test_the_deepest_nesting_is_read() -> None:
    assert parse(nested(MAX_DEPTH).encode())
