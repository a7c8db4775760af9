"""Protocol of the ELUDe paper (App. B.1): free text that ends in JSON, decoded greedily, and never repeated.

The parts of the prompt and the attributes that it lists are the paper's, the sentences are ours.
"""

from __future__ import annotations

from judges.prompt import OUTLINES, PROTOCOLS, Prompt, with_sentence

TEXT = """\
Each grid holds the 9 images that activate one unit of a neural network most strongly.

A COHERENT unit stands for one concept that has a name: most of its images have a common object category, object part, \
color, texture, material, shape, or other visual or semantic attribute.

An INCOHERENT unit has images without a property that they share.

Grid A is the first image. Grid B is the second image.

Say which concept each grid shows (or why it looks incoherent), then say which grid is more coherent.

Answer with JSON only:

{"reasoning_a": "...", "reasoning_b": "...", "answer": "A" or "B"}
"""


def paper(style: str) -> Prompt:
    """Return the paper's prompt for grids of a style; the paper itself has plain ones only."""
    prompt = Prompt("paper-1", TEXT, structured=False, max_attempts=1)
    return prompt if style == "plain" else with_sentence(prompt, OUTLINES, before="A COHERENT unit")


PROTOCOLS.add("paper", paper, description="App. B.1: free text, greedy decoding, nothing repeated")
