"""Prompt for a judge, and the required format of its reply.

The wording is ours; its meaning is that of the prompt in the ELUDe paper (App. B.1). A changed text is a new version: a
reply belongs to the version that it answered.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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

_OUTLINES = """\
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


def reply_schema(reason_chars: int) -> dict[str, Any]:
    """Return :data:`REPLY_SCHEMA` with a largest length of each reason in characters."""
    properties = {
        name: {**kind, "maxLength": reason_chars} if name != "answer" else kind
        for name, kind in REPLY_SCHEMA["properties"].items()
    }
    return {**REPLY_SCHEMA, "properties": properties}


class Prompt(NamedTuple):
    """Text of a prompt, and the version under which replies to it are kept."""

    version: str
    text: str


def prompt_for(style: str) -> Prompt:
    """Return the prompt for grids of a style: "plain", or "outlined" with a sentence and a version of its own."""
    if style == "plain":
        return Prompt(VERSION, PROMPT)
    head, separator, tail = PROMPT.partition("Call a unit COHERENT")
    return Prompt(f"{VERSION}+outlined", f"{head}{_OUTLINES}{separator}{tail}")
