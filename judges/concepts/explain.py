"""Prompt that asks for the concept of one grid of images."""

from __future__ import annotations

from judges.grids import GRID_PX
from judges.parsing import MAX_CONCEPT_CHARS, parse_concept
from judges.prompt import Prompt

TEXT = """\
You see one grid of up to nine images. They are among the images to which one unit of a neural network responds most \
strongly. Grey cells are empty.

Name the concept that most of these images share: a kind of object, a part of an object, a colour, a texture, a \
material, a shape, a scene, or any other visual or semantic attribute. Somebody who has only your name must be able to \
tell other images of this unit from images of other units. So be as specific as the images allow, and not more. If the \
images share nothing, name what comes closest.

Use at most ten words, and do not write about the grid or the unit.

Reply with one JSON object and nothing else:
{"concept": "..."}
"""

EXPLAIN = Prompt(
    "explain-1",
    TEXT,
    read=parse_concept,
    schema={
        "type": "object",
        "properties": {"concept": {"type": "string"}},
        "required": ["concept"],
        "additionalProperties": False,
    },
    text_chars=MAX_CONCEPT_CHARS,
    picture_px=(GRID_PX,),
    reply_tokens=20,
)
"""A test pins the text of each version."""
