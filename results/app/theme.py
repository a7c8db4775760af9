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


_STAR = "M0,-1L.247,-.34L.951,-.309L.399,.13L.588,.809L0,.42L-.588,.809L-.399,.13L-.951,-.309L-.247,-.34Z"
_SALTIRE = (
    "M.825,.425L.4,0L.825,-.425L.425,-.825L0,-.4L-.425,-.825L-.825,-.425L-.4,0L-.825,.425L-.425,.825L0,.4L.425,.825Z"
)
_PENTAGON = "M0,-1L.951,-.309L.588,.809L-.588,.809L-.951,-.309Z"
_HEXAGON = "M0,-1L.866,-.5L.866,.5L0,1L-.866,.5L-.866,-.5Z"
_TALL_DIAMOND = "M0,-1.1L.6,0L0,1.1L-.6,0Z"
_BOWTIE = "M-1,-.8L1,.8L1,-.8L-1,.8Z"
_HOURGLASS = "M-.8,-1L.8,1L-.8,1L.8,-1Z"


class Mark(NamedTuple):
    """Mark of a method; `symbol` is a shape of Vega, by its name or as an SVG path in a square from -1 to 1."""

    colour: str
    symbol: str


# Methods of the harness keep their mark regardless of the others shown.
_MARKS = {
    "identity": Mark(GREY, _SALTIRE),
    "elude": Mark(VERMILION, _STAR),
    "random_split": Mark(ORANGE, _TALL_DIAMOND),
    "vanilla_sae": Mark(SKY, "circle"),
    "topk_sae": Mark(BLUE, "circle"),
    "jumprelu_sae": Mark(GREEN, "circle"),
    "batchtopk_sae": Mark(BLUE, "square"),
    "matryoshka_sae": Mark(GREEN, "square"),
    "archetypal_sae": Mark(PURPLE, _PENTAGON),
    "matching_pursuit_sae": Mark(SKY, _HEXAGON),
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
    for symbol in ("triangle-left", "triangle-right", _BOWTIE, _HOURGLASS)
    for colour in (BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE, YELLOW)
]


def marks(methods: Sequence[str]) -> dict[str, Mark]:
    """Return the mark of each method; methods of plugins get theirs in alphabetical order."""
    plugins = sorted({method for method in methods if method not in _MARKS})
    others = {method: _OTHERS[number % len(_OTHERS)] for number, method in enumerate(plugins)}
    return {method: _MARKS.get(method) or others[method] for method in methods}
