"""Protocol for people: the instruction that the page and a crowd platform show; an answer is never asked for again."""

from __future__ import annotations

from judges.prompt import OUTLINES, PROTOCOLS, Prompt, with_sentence

TEXT = """\
You see two grids of nine images each. Each grid shows the nine images to which one unit of a neural network responds \
most strongly.

Choose the grid that shows one concept that you can name: most of its nine images share something in particular, such \
as a kind of object, a part of an object, a colour, a texture, a material, a shape, or any other visual or semantic \
attribute. If both show one, choose the clearer one.

Choose Tie if neither grid is clearer than the other.
"""


def people(style: str) -> Prompt:
    """Return the instruction for grids of a style."""
    prompt = Prompt("people-1", TEXT, structured=False, max_attempts=1, panel="people")
    return prompt if style == "plain" else with_sentence(prompt, OUTLINES, before="Choose the grid")


PROTOCOLS.add("people", people, description="for people: A, B or a tie, and nothing is asked again")
