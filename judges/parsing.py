"""Strict parsing of a judge's reply, without guessing."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

#: Longer replies are invalid. 512 tokens are about 2000 characters.
MAX_REPLY_CHARS = 16_384
#: Longest name of a concept; the prompt asks for ten words.
MAX_CONCEPT_CHARS = 120

# Models put line breaks inside strings; they do not make the answer ambiguous.
_DECODER = json.JSONDecoder(strict=False)
_ANSWER_KEY = re.compile(r"""["']answer["']\s*:\s*["']?\s*(\w*)""")
#: An answer in words before the object: "Answer: B", "the answer is **A**".
_ANSWER_IN_PROSE = re.compile(r"(?i)\banswer\b(?:\s{1,4}is)?[\s:*\"'`=]{1,8}(?:grid\s{1,4})?([AB])\b")
_DETECTION_IN_PROSE = re.compile(r"(?i)\banswer\b(?:\s{1,4}is)?[\s:*\"'`=]{1,8}(yes|no)\b")
#: Start of what is kept of a server's reply in another format (:func:`judges.chat_completion.unusable`).
_UNUSABLE = re.compile(r"HTTP \d+: ")
_THOUGHTS, _END_OF_THOUGHTS = "<think>", "</think>"
_SPACE = " \t\r\n"


@dataclass(frozen=True)
class Verdict:
    """Parsed reply: the answer "A" or "B" with the reasons given, or, for an invalid reply, None and the problem."""

    answer: str | None
    reasoning_a: str | None = None
    reasoning_b: str | None = None
    problem: str | None = None

    @property
    def valid(self) -> bool:
        return self.answer is not None


class _Object(NamedTuple):
    """The top level of a JSON object, read up to the end of the text."""

    pairs: list[tuple[str, Any]]
    rest: str
    """text after the closing brace; empty if the text ends before it"""


def parse_reply(text: str | None) -> Verdict:
    """Read a judge's reply of at most ``MAX_REPLY_CHARS`` characters.

    Accepted is a JSON object whose ``answer`` is exactly "A" or "B", also inside a Markdown fence, after a block of
    thoughts (``<think> ... </think>``), with prose before or after it, or cut off anywhere after the answer. Everything
    else is invalid: prose alone, other keys, other answers, two answers that differ (thoughts apart), an answer that is
    itself cut off. Never raises.
    """
    try:
        before, parsed = _object_of(text)
    except _Unreadable as unreadable:
        return _invalid(str(unreadable))
    answers = [value for key, value in parsed.pairs if key == "answer"]
    if not answers:
        return _invalid("there is no answer in the reply")
    if any(value not in ("A", "B") for value in answers):
        return _invalid('the answer is neither "A" nor "B"')
    others = {match.group(1) for match in _ANSWER_KEY.finditer(parsed.rest)}
    others |= {match.group(1).upper() for match in _ANSWER_IN_PROSE.finditer(before)}
    if len({*answers, *others}) > 1:
        return _invalid("the reply gives two answers")
    # Escapes within the reply can give characters that the reply itself does not contain.
    reasons = {key: storable_text(value) for key, value in parsed.pairs if isinstance(value, str)}
    return Verdict(answers[0], reasons.get("reasoning_a"), reasons.get("reasoning_b"))


def parse_detection(text: str | None) -> Verdict:
    """Read the reply to a question of yes or no, by the rules of :func:`parse_reply`; upper case is accepted."""
    try:
        before, parsed = _object_of(text)
    except _Unreadable as unreadable:
        return _invalid(str(unreadable))
    values = [value for key, value in parsed.pairs if key == "answer"]
    if not values:
        return _invalid("there is no answer in the reply")
    answers = {value.lower() if isinstance(value, str) else None for value in values}
    if not answers <= {"yes", "no"}:
        return _invalid('the answer is neither "yes" nor "no"')
    answers |= {match.group(1).lower() for match in _ANSWER_KEY.finditer(parsed.rest)}
    answers |= {match.group(1).lower() for match in _DETECTION_IN_PROSE.finditer(before)}
    return Verdict(answers.pop()) if len(answers) == 1 else _invalid("the reply gives two answers")


def parse_concept(text: str | None) -> Verdict:
    """Read a reply that names a concept, by the rules of :func:`parse_reply`; the answer is :func:`clean_concept`."""
    try:
        _, parsed = _object_of(text)
    except _Unreadable as unreadable:
        return _invalid(str(unreadable))
    values = [value for key, value in parsed.pairs if key == "concept"]
    if not values:
        return _invalid("there is no concept in the reply")
    concepts = {clean_concept(value) if isinstance(value, str) else None for value in values}
    if len(concepts) > 1:
        return _invalid("the reply names two concepts")
    concept = concepts.pop()
    if concept is None:
        return _invalid(f"the concept is empty or longer than {MAX_CONCEPT_CHARS} characters")
    return Verdict(concept)


def clean_concept(text: str) -> str | None:
    """Return a concept on one line, without control and invisible characters; None if it is empty or too long.

    It is a model's own text and becomes a part of the next prompt.
    """
    if len(text) > MAX_REPLY_CHARS:
        return None
    printed = "".join(sign if sign.isprintable() else " " for sign in storable_text(text))
    concept = " ".join(printed.split()).strip("\"' ")
    # A text without any letter or digit names nothing.
    return concept if len(concept) <= MAX_CONCEPT_CHARS and any(sign.isalnum() for sign in concept) else None


class _Unreadable(ValueError):
    """A reply without an object that can be read; the message says why."""


def _object_of(text: str | None) -> tuple[str, _Object]:
    """Return the JSON object of a reply and the prose before it.

    Raises:
        _Unreadable: there is none.
    """
    if isinstance(text, str) and len(text) > MAX_REPLY_CHARS:
        raise _Unreadable(f"the reply is longer than {MAX_REPLY_CHARS} characters")
    if not isinstance(text, str) or not text.strip():
        raise _Unreadable("the reply is empty")
    if _UNUSABLE.match(text):
        raise _Unreadable("the reply of the server is no chat completion")
    body = _without_thoughts(text.strip().removeprefix("\ufeff").lstrip())
    if body is None:
        raise _Unreadable("the reply ends within its thoughts")
    start = body.find("{")
    if start < 0:
        raise _Unreadable("there is no JSON object in the reply")
    before, body = body[:start], body[start:]
    if set(before) & set("[]}"):
        raise _Unreadable("the reply is no JSON")
    try:
        return before, _read_object(body)
    except (ValueError, RecursionError) as error:
        raise _Unreadable("the reply is no JSON") from error


def _without_thoughts(text: str) -> str | None:
    """Return a reply without the thoughts before it, or None if it ends within them.

    Templates may open the thoughts in the prompt: then only their end is in the reply, and must not follow an object.
    """
    head, end, tail = text.partition(_END_OF_THOUGHTS)
    if text.startswith(_THOUGHTS):
        return tail.lstrip() if end else None
    return tail.lstrip() if end and "{" not in head else text


def storable_text(text: str) -> str:
    """Return a text with a replacement character for each NUL and each lone surrogate, which UTF-8 cannot encode."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")


def printable(text: str) -> str:
    """Return a text on one line, with a question mark for each control or invisible character."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _invalid(problem: str) -> Verdict:
    return Verdict(None, problem=problem)


def _read_object(text: str) -> _Object:
    """Read an object key by key, so that an object that ends early keeps its complete entries.

    Raises:
        ValueError: if it is not JSON, except for an early end.
    """
    pairs: list[tuple[str, Any]] = []
    at = _skip(text, 1)
    while at < len(text):
        if text[at] == "}":
            return _Object(pairs, text[at + 1 :])
        if pairs:
            if text[at] != ",":
                # A closing fence after a cut-off object.
                if text[at:].startswith("```"):
                    return _Object(pairs, text[at:])
                raise ValueError("a comma is missing")
            at = _skip(text, at + 1)
        key, at = _value(text, at)
        if key is _CUT_OFF:
            break
        if not isinstance(key, str):
            raise ValueError("a key is no string")
        at = _skip(text, at)
        if at >= len(text):
            break
        if text[at] != ":":
            raise ValueError("a colon is missing")
        value, at = _value(text, _skip(text, at + 1))
        if value is _CUT_OFF:
            break
        pairs.append((key, value))
        at = _skip(text, at)
    return _Object(pairs, "")


_CUT_OFF = object()


def _value(text: str, at: int) -> tuple[Any, int]:
    """Return the JSON value at a position and its end, or ``_CUT_OFF`` if the text ends first."""
    if at >= len(text):
        return _CUT_OFF, at
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        rest = text[error.pos :]
        ended = not rest or any(word.startswith(rest) for word in ("true", "false", "null", "-"))
        if ended or (error.msg.startswith(("Unterminated string", "Invalid \\")) and _never_closes(text, at)):
            return _CUT_OFF, len(text)
        raise


def _never_closes(text: str, at: int) -> bool:
    """Return whether the string that is open at the end of ``text[at:]`` has no closing quote."""
    return len(re.sub(r"\\.", "", text[at:], flags=re.DOTALL).split('"')) % 2 == 0


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at
