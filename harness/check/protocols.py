"""Contract of a judging protocol (docs/plugins.md): prompts of both styles, versions of their own, and the reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from harness.check.finding import Finding, other_globals, require, require_json, run_all
from judges.parsing import Verdict
from judges.prompt import REPLY_SCHEMA, STYLES, VERSION_PATTERN, Prompt, same_version

Factory = Callable[[str], Prompt]

#: Replies that models really send, and worse.
_ODD_REPLIES = (
    *(None, "", " ", "\0", "{", "}" * 500, "[" * 5000, "null", "[]", "1e999", "A", "A and B", "\ud800", "é" * 20_000),
    *('{"answer": 1}', '{"answer": null}', '{"answer": ["A"]}', '{"answer": "C"}', '{"answer": "A"} {"answer": "B"}'),
)
#: Reply without one answer -> the same in words.
_NO_ANSWER: dict[str | None, str] = {
    None: "a reply that did not come",
    "": "an empty reply",
    "no": "a reply without an answer",
    '{"answer": "C"}': "a reply with the answer C",
    '{"answer": "A"} {"answer": "B"}': "a reply with two answers",
}
_LONGEST_TEXT = 20_000


@dataclass
class CheckedProtocol:
    """Registered protocol with its prompts."""

    name: str
    factory: Factory
    prompts: dict[str, Prompt] = field(default_factory=dict)
    """prompt by style, set by the check ``prompts``"""


def check_protocol(name: str, factory: Factory) -> list[Finding]:
    """Check a registered judging protocol."""
    return run_all(CHECKS, CheckedProtocol(name, factory), required=(prompts,))


def prompts(of: CheckedProtocol) -> None:
    """Check that the function returns a prompt with a text and a version for each style, the same each time."""
    for number, style in enumerate(STYLES):
        prompt: Any = of.factory(style)
        require(
            isinstance(prompt, Prompt),
            f"For the style {style!r} it returns a {type(prompt).__name__}; it must return a judges.prompt.Prompt.",
        )
        for name, value, kind in (
            ("version", prompt.version, str),
            ("text", prompt.text, str),
            ("structured", prompt.structured, bool),
            ("max_attempts", prompt.max_attempts, int),
        ):
            given = type(value).__name__
            require(type(value) is kind, f"{name} of the prompt is of the type {given}; it must be {kind.__name__}.")
        require(
            bool(VERSION_PATTERN.fullmatch(prompt.version)),
            f"The version {prompt.version[:60]!r} must have 1 to 40 characters without spaces, such as {of.name}-1.",
        )
        n = len(prompt.text)
        require(len(prompt.text.strip()) > 0 and n <= _LONGEST_TEXT, f"The text has {n} characters; give 1 to 20000.")
        require(prompt.max_attempts >= 1, f"max_attempts is {prompt.max_attempts}; a question is asked once or more.")
        with other_globals(number):
            again: Any = of.factory(style)
        require(
            isinstance(again, Prompt) and again[:4] == prompt[:4],
            f"For the style {style!r} it returns another prompt each time, so stored replies would not be reused.",
        )
        of.prompts[style] = prompt


def versions(of: CheckedProtocol) -> None:
    """Check that different texts have different versions, and that no other protocol has them."""
    plain, outlined = (of.prompts[style] for style in STYLES)
    differ = plain[1:4] != outlined[1:4]
    require(
        not differ or plain.version != outlined.version,
        f"Both styles have the version {plain.version!r} and differ in text or rules; give each a version of its own.",
    )
    for style, prompt in of.prompts.items():
        other = same_version(prompt.version, style, of.name)
        require(
            other is None,
            f"The protocol {other!r} has the version {prompt.version!r} too, so their replies would be mixed; "
            "choose another version.",
        )


def schema(of: CheckedProtocol) -> None:
    """Check that the schema of a reply is a JSON schema of an object, which a judge can be kept to."""
    for prompt in of.prompts.values():
        require_json(prompt.schema, "The schema contains")
        properties = prompt.schema.get("properties")
        require(
            prompt.schema.get("type") == "object" and isinstance(properties, dict) and bool(properties),
            'The schema must be that of an object: {"type": "object", "properties": {...}}.',
        )


def reader(of: CheckedProtocol) -> str:
    """Check that read returns a verdict for any text without raising, and reads replies of the schema."""
    n_odd = 0
    for prompt in of.prompts.values():
        for text in _ODD_REPLIES:
            verdict: Any = prompt.read(text)
            excerpt = repr(text)[:40]
            require(
                isinstance(verdict, Verdict),
                f"read returns a {type(verdict).__name__} for the reply {excerpt}; it must return a Verdict.",
            )
            require(
                verdict.answer in ("A", "B", None),
                f"read returns the answer {verdict.answer!r} for the reply {excerpt}; it must be A, B or None.",
            )
            n_odd += 1
        for text, what in _NO_ANSWER.items():
            require(not prompt.read(text).valid, f"read finds an answer in {what}; it must be invalid.")
        if prompt.schema == REPLY_SCHEMA:
            for answer in ("A", "B"):
                text = json.dumps({"reasoning_a": "dogs", "reasoning_b": "nothing", "answer": answer})
                given = prompt.read(text).answer
                require(given == answer, f"read returns {given!r} for {text}; it must return {answer!r}.")
    return f"{n_odd} odd replies"


#: Checks in the order in which they run. Each raises AssertionError with a sentence that explains the failure.
CHECKS: tuple[Callable[[CheckedProtocol], Any], ...] = (prompts, versions, schema, reader)
