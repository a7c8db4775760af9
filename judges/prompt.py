"""Prompt for a judge, the required format of its reply, and the registry of protocols.

A protocol is a prompt with rules: whether replies are kept to the JSON schema, and how often an invalid one is
repeated. A changed text or rule is a new version: a reply belongs to the version that it answered, and replies to
different versions are never mixed.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from judges.grids import GRID_PX
from judges.guarding import guarded
from judges.parsing import Verdict, parse_reply
from methods.errors import UserError
from methods.registry import Registry

#: Prompt of the default protocol. The wording is ours; its meaning is that of the ELUDe paper's (App. B.1).
PROMPT = """\
You see two grids of nine images each. The first image you were given is grid A, the second is grid B. Each grid shows \
the nine images to which one unit of a neural network responds most strongly.

Call a unit COHERENT if its grid shows one concept that you can name: most of the nine images share something in \
particular, such as a kind of object, a part of an object, a colour, a texture, a material, a shape, or any other \
visual or semantic attribute. Call it INCOHERENT if you can find nothing that its images share.

First say for each grid which concept it shows, or why it shows none. Then decide which of the two grids is the more \
coherent one. You must choose one of them.

Reply with one JSON object and nothing else:
{"reasoning_a": "...", "reasoning_b": "...", "answer": "A" or "B"}
"""

#: Additional sentence for grids of the style "outlined".
OUTLINES = """\
In each image a thin magenta square marks the place to which the unit responds most; what is there matters most.

"""

#: The version of :data:`PROMPT`; a test pins the text of each version.
VERSION = "1"

#: JSON schema of a reply, in the order in which it is to be written: reasons before the answer.
REPLY_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "reasoning_a": {"type": "string"},
        "reasoning_b": {"type": "string"},
        "answer": {"type": "string", "enum": ["A", "B"]},
    },
    "required": ["reasoning_a", "reasoning_b", "answer"],
    "additionalProperties": False,
}


def reply_schema(text_chars: int, schema: Mapping[str, Any] = REPLY_SCHEMA) -> dict[str, Any]:
    """Return a schema with a largest length in characters of each text that is not one of a few."""
    properties = {
        name: kind if "enum" in kind else {**kind, "maxLength": text_chars}
        for name, kind in schema["properties"].items()
    }
    return {**schema, "properties": properties}


#: Place in a prompt's text at which the concept of a question is quoted.
CONCEPT = "{concept}"


class Prompt(NamedTuple):
    """Text of a prompt, with the rules for its replies and the version under which they are kept."""

    version: str
    text: str
    structured: bool = True
    """whether a judge that can is kept to the JSON schema; otherwise its reply is free text, which may contain JSON"""
    max_attempts: int = 3
    """how often a question is asked at most, while its replies are invalid"""
    read: Callable[[str | None], Verdict] = parse_reply
    """reads a reply; never raises"""
    schema: Mapping[str, Any] = REPLY_SCHEMA
    """JSON schema of a reply"""
    text_chars: int | None = None
    """largest length of a text in a reply, for judges that can enforce one; None: the judge's own"""
    picture_px: tuple[int, ...] = (GRID_PX, GRID_PX)
    """side of each picture that is shown, from which the cost of a call is estimated"""
    panel: str | None = None
    """kind of panel that alone can follow it; None: any"""
    reply_tokens: int = 128
    """estimated length of a reply: for comparisons half of what is allowed"""

    def text_for(self, concept: str | None) -> str:
        """Return the text with the concept of a question as a JSON string, so that nothing in it ends the quotation."""
        return self.text if concept is None else self.text.replace(CONCEPT, json.dumps(concept, ensure_ascii=False))


# An entry returns the prompt for a style of grids ("plain" or "outlined"). Each module of judges/protocols registers
# one, so that a new protocol is a new file.
PROTOCOLS: Registry[Callable[[str], Prompt]] = Registry("judging protocol", "harness.protocols", "judges.protocols")


#: Styles of grids.
STYLES = ("plain", "outlined")
#: A version of a prompt.
VERSION_PATTERN = re.compile(r"[!-~]{1,40}")


def prompt_for(style: str, protocol: str = "default") -> Prompt:
    """Return the prompt of a protocol for grids of a style: "plain", or "outlined" with a version of its own.

    Raises:
        UserError: an unknown protocol, one of a plugin that returns no prompt, or one with the version of another
            protocol, whose replies would be mixed with its own.
    """
    factory = PROTOCOLS.get(protocol)
    with guarded(f"The judging protocol {protocol!r}", "the function that returns its prompt"):
        prompt = factory(style)
    if not isinstance(prompt, Prompt) or type(prompt.max_attempts) is not int or prompt.max_attempts < 1:
        raise UserError(
            f"The judging protocol {protocol!r} must return a judges.prompt.Prompt of at least one attempt."
        )
    if not isinstance(prompt.version, str) or not VERSION_PATTERN.fullmatch(prompt.version):
        raise UserError(
            f"The version of the judging protocol {protocol!r} must be a text of 1 to 40 characters without spaces."
        )
    if other := same_version(prompt.version, style, protocol):
        raise UserError(
            f"The judging protocols {protocol!r} and {other!r} have the same version, {prompt.version!r}, so their "
            "replies would be mixed; give one of them another version."
        )
    return prompt


def same_version(version: str, style: str, protocol: str) -> str | None:
    """Return a protocol that was registered before this one with the same version for a style; None without one.

    The built-in ones are registered first, so a plugin that takes their version does not disable them.
    """
    PROTOCOLS.names()  # registers all of them
    order = sorted(PROTOCOLS.entries, key=lambda name: PROTOCOLS.entries[name].module != "")
    for name in order[: order.index(protocol)] if protocol in order else order:
        for of_style in STYLES:
            # One that fails has no replies.
            with contextlib.suppress(UserError), guarded(f"The judging protocol {name!r}", "its function"):
                if getattr(PROTOCOLS.get(name)(of_style), "version", None) == version:
                    return name
    return None


def with_sentence(prompt: Prompt, sentence: str, *, before: str) -> Prompt:
    """Return the "outlined" version of a prompt, with a sentence in front of the part that begins with ``before``."""
    head, separator, tail = prompt.text.partition(before)
    return prompt._replace(version=f"{prompt.version}+outlined", text=f"{head}{sentence}{separator}{tail}")
