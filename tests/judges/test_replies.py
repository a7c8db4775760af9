"""The prompt and the strict reading of replies."""

from __future__ import annotations

import hashlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges import PROMPT, parse_reply
from judges.parsing import MAX_REPLY_CHARS
from judges.prompt import OUTLINES, PROTOCOLS, VERSION, prompt_for
from methods.errors import UserError

FULL = '{"reasoning_a": "dogs", "reasoning_b": "nothing shared", "answer": "A"}'


def test_the_prompt_must_not_change_without_a_new_version() -> None:
    """These must not change: stored replies belong to the text they answered."""
    known = {
        prompt.version: (
            hashlib.blake2b(prompt.text.encode(), digest_size=8).hexdigest(),
            prompt.structured,
            prompt.max_attempts,
        )
        for prompt in (prompt_for(style, protocol) for protocol in PROTOCOLS.names() for style in ("plain", "outlined"))
    }
    assert known == {
        "1": ("04748aa044699d7e", True, 3),
        "1+outlined": ("a7cd5b7249b3790f", True, 3),
        "paper-1": ("162d61d533b3d193", False, 1),
        "paper-1+outlined": ("5b3a3102658f5b1a", False, 1),
        "people-1": ("cde798bb109f4d6b", False, 1),
        "people-1+outlined": ("6b60afb95fc18a0b", False, 1),
    }
    assert prompt_for("plain").text == PROMPT and VERSION == "1"


def test_the_outlined_prompt_has_one_more_sentence() -> None:
    for protocol in PROTOCOLS.names():
        plain, outlined = (prompt_for(style, protocol).text for style in ("plain", "outlined"))
        assert OUTLINES in outlined and outlined.replace(OUTLINES, "") == plain


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(UserError, match=r"'papr'.*paper"):
        prompt_for("plain", "papr")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (FULL, "A"),
        (FULL.replace('"A"', '"B"'), "B"),
        (f"\n  {FULL}\n", "A"),
        (f"```json\n{FULL}\n```", "A"),
        (f"```\n{FULL}\n```\nI hope this helps!", "A"),
        (FULL + "\nGrid A is the more coherent one.", "A"),
        (f"Here you are: {FULL}", "A"),
        (f"Sure!\n{FULL}", "A"),
        (f"Sure!\n```json\n{FULL}\n```\nAnything else?", "A"),
        (f"Sure, grid B looks odd.\n{FULL[:-1]}", "A"),
        (f"The answer is A:\n{FULL}", "A"),
        (f"I answer in JSON. Both are good.\n{FULL}", "A"),
        (f"<think>{FULL.replace('A', 'B')} or not?</think>\n\n{FULL}", "A"),
        (f"<think>\n</think>```json\n{FULL}```", "A"),
        (f"Grid B has dogs, and B is better. Hm.</think>{FULL}", "A"),
        ('{"reasoning_a": "</think>", "reasoning_b": "<think>", "answer": "B"}', "B"),
        (FULL[:-1], "A"),
        (f"```json\n{FULL[:-1]}\n```", "A"),
        ('{"answer": "B", "reasoning_a": "nine photographs of', "B"),
        ('{"answer": "B", "reasoning_a": "so \\', "B"),
        ('{"answer": "B", "confidence": tr', "B"),
        ('{"reasoning_a": "two\nlines", "reasoning_b": "\\"quoted\\"", "answer": "B"}', "B"),
        ('{"answer": "A"}', "A"),
    ],
)
def test_what_is_taken(text: str, answer: str) -> None:
    verdict = parse_reply(text)
    assert verdict.answer == answer and verdict.valid and verdict.problem is None


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "  ",
        "A",
        "Grid A is more coherent.",
        f"Answer: B\n{FULL}",
        f"The answer is **grid B**.\n{FULL}",
        f"My answer: 'b'. In JSON: {FULL}",
        f"Sure! {{not json}} {FULL}",
        f"HTTP 200: {FULL}",
        f"Sure! [{FULL}]",
        f"Sure! {FULL} or {FULL.replace(chr(34) + 'A' + chr(34), chr(34) + 'B' + chr(34))}",
        f"<think>{FULL}",
        f"<think>{FULL}</think>",
        f"<think>{FULL}</think> Grid A.",
        f"{FULL}</think>{FULL.replace(chr(34) + 'A' + chr(34), chr(34) + 'B' + chr(34))}",
        "Sure! Grid A is more coherent, so the answer is A.",
        '{"reasoning_a": "dogs", "reasoning_b": "the answer is A',
        '{"reasoning_a": "dogs", "answer": "A',
        '{"winner": "A"}',
        '{"reasoning_a": "x", "reasoning_b": "y", "Answer": "A"}',
        '{"answer": "A or B"}',
        '{"answer": "a"}',
        '{"answer": "Grid A"}',
        '{"answer": null}',
        '{"answer": ["A"]}',
        '[{"answer": "A"}]',
        '["answer": "A"}',
        'x"answer": "A"}',
        '{"verdict": {"answer": "A"}}',
        '{"answer": "A", "answer": "B"}',
        f"{FULL}\n{FULL.replace(chr(34) + 'A' + chr(34), chr(34) + 'B' + chr(34))}",
        '{"answer": "A", and so on',
        "{'answer': 'A'}",
        '{"x": ' + "[" * 100_000,
    ],
)
def test_what_is_invalid(text: str | None) -> None:
    verdict = parse_reply(text)
    assert verdict.answer is None and not verdict.valid and verdict.problem


def test_the_reasons_are_kept() -> None:
    verdict = parse_reply(FULL)
    assert (verdict.reasoning_a, verdict.reasoning_b) == ("dogs", "nothing shared")


@given(st.text(max_size=200))
def test_it_never_raises(text: str) -> None:
    assert parse_reply(text).answer is None or '"answer"' in text


@given(st.text(max_size=40), st.text(max_size=40), st.sampled_from("AB"), st.integers(0, 400))
def test_a_cut_reply_says_the_same_or_nothing(a: str, b: str, answer: str, cut: int) -> None:
    text = json.dumps({"reasoning_a": a, "reasoning_b": b, "answer": answer})
    assert parse_reply(text).answer == answer
    assert parse_reply(text[:cut]).answer in (None, answer)
    assert parse_reply(text[: text.rindex(f'"{answer}"')]).answer is None


MB = 2**20


@pytest.mark.parametrize(
    "text",
    [
        '{"answer"' + " " * MB,
        '{"answer": "A"}' + '"answer"' * (MB // 8),
        '{"answer": "A"} ' + '"answer" : \' ' * (MB // 13),
        '{"answer": "A", "x": "' + "\\" * MB,
        '{"answer": "A", ' * (MB // 16),
        '{"answer": "A"' + ', "answer": "A"' * (MB // 15),
        "```" * (MB // 3),
        "`" * 3 + "a" * MB,
        "[" * MB,
        '{"a":' * (MB // 5),
        '{"x": ' + "1" * MB,
        '"' * MB,
        "\ufeff" * MB,
        "\u200b\u202e" * (MB // 2),
    ],
)
@pytest.mark.parametrize("size", [MB, MAX_REPLY_CHARS])
def test_hostile_text_takes_no_time(text: str, size: int) -> None:
    started = time.perf_counter()
    verdict = parse_reply(text[:size])
    assert time.perf_counter() - started < 0.5
    assert len(verdict.reasoning_a or "") <= MAX_REPLY_CHARS
    assert size < MB or (verdict.answer is None and "longer than 16384 characters" in str(verdict.problem))


@pytest.mark.parametrize(
    "answer", ["\u0410", "\u0391", "\uff21", "\u200bA", "A\u0301", "\u1d2c", "A\\u0000", "A\\ud800"]
)
def test_look_alikes_are_no_answer(answer: str) -> None:
    assert parse_reply(f'{{"answer": "{answer}"}}').answer is None


def test_reasons_can_be_stored() -> None:
    verdict = parse_reply(r'{"reasoning_a": "\ud800 \ud83d\ude00", "reasoning_b": "a\u0000", "answer": "A"}')
    assert (verdict.reasoning_a, verdict.reasoning_b) == ("\ufffd \U0001f600", "a\ufffd")
