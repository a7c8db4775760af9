"""Colours and marks: the Okabe-Ito palette, which colour-blind people can distinguish, and a mark for each method.

Every method has both, so that colour is never the only distinction. The colours and the greys are legible on white and
on streamlit's dark page. (The palette's black is not; its yellow is left for last.) Okabe and Ito, Color Universal
Design, 2008.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GREY = "#CC79A7", "#56B4E9", "#F0E442", "#888888"

LINE = GREY
"""Lines that are neither text nor a method: the Pareto line, references."""
OUTLINE = (255, 0, 255)
"""The position of the maximum in a picture: magenta is rare in photographs."""
BLANK = (128, 128, 128)
"""A tile without a picture."""


class Mark(NamedTuple):
    """Mark of a method; `symbol` is a name of `results.app.figures.shapes`."""

    colour: str
    symbol: str


# Methods of the harness keep their mark regardless of the others shown.
_MARKS = {
    "identity": Mark(GREY, "x"),
    "elude": Mark(VERMILION, "star"),
    "random_split": Mark(ORANGE, "diamond-tall"),
    "vanilla_sae": Mark(SKY, "circle"),
    "topk_sae": Mark(BLUE, "circle"),
    "jumprelu_sae": Mark(GREEN, "circle"),
    "batchtopk_sae": Mark(BLUE, "square"),
    "matryoshka_sae": Mark(GREEN, "square"),
    "archetypal_sae": Mark(PURPLE, "pentagon"),
    "matching_pursuit_sae": Mark(SKY, "hexagon"),
    "transcoder": Mark(PURPLE, "diamond"),
    "random_dictionary": Mark(ORANGE, "cross"),
    "pca": Mark(BLUE, "triangle-up"),
    "ica": Mark(GREEN, "triangle-up"),
    "nmf": Mark(PURPLE, "triangle-up"),
    "kmeans": Mark(SKY, "triangle-up"),
    "dnrwcv": Mark(GREEN, "triangle-down"),
    "pure": Mark(PURPLE, "triangle-down"),
    "dpcicnn": Mark(SKY, "triangle-down"),
}
_OTHERS = [
    Mark(colour, symbol)
    for symbol in ("triangle-left", "triangle-right", "bowtie", "hourglass")
    for colour in (BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE, YELLOW)
]


def marks(methods: Sequence[str]) -> dict[str, Mark]:
    """Return the mark of each method; methods that are not the harness's own get theirs in alphabetical order."""
    own = sorted({method for method in methods if method not in _MARKS})
    others = {method: _OTHERS[number % len(_OTHERS)] for number, method in enumerate(own)}
    return {method: _MARKS.get(method) or others[method] for method in methods}
