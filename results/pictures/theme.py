"""Colours and marks: one hue per family of methods, one shape per method within it.

The hues are those of the Okabe-Ito palette, which colour-blind people can distinguish, and every method has a shape of
its own, so that colour is never the only distinction. The colours and the greys are legible on white and on streamlit's
dark page. (The palette's black is not; its yellow is left for last.) Okabe and Ito, Color Universal Design, 2008.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GREY = "#CC79A7", "#56B4E9", "#F0E442", "#888888"

LINE = GREY
"""Lines that are neither text nor a method: the Pareto line, references."""
ACCENT = "#C2499D"
"""The method in focus, whatever its family; 3:1 at least on both pages."""
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


FAMILY_COLOURS: Mapping[str, str] = {
    "sae": BLUE,
    "split": VERMILION,
    "virtual split": PURPLE,
    "transcoder": GREEN,
    "dictionary": ORANGE,
    "control": GREY,
}
"""Hue of each family. Families of plugins get another one, in alphabetical order."""

# Methods of the harness: family and symbol, which differ within a family.
_MARKS: Mapping[str, tuple[str, str]] = {
    "identity": ("control", _SALTIRE),
    "random_split": ("control", _TALL_DIAMOND),
    "random_dictionary": ("control", "cross"),
    "frozen_decoder_sae": ("control", "circle"),
    "pca": ("control", "triangle-up"),
    "ica": ("control", "triangle-down"),
    "nmf": ("control", "triangle-left"),
    "kmeans": ("control", "triangle-right"),
    "elude": ("split", _STAR),
    "dpcicnn": ("split", "triangle-down"),
    "dnrwcv": ("virtual split", "triangle-down"),
    "pure": ("virtual split", "triangle-up"),
    "topk_sae": ("sae", "circle"),
    "batchtopk_sae": ("sae", "square"),
    "matching_pursuit_sae": ("sae", _HEXAGON),
    "archetypal_sae": ("sae", _PENTAGON),
    "matryoshka_sae": ("sae", "diamond"),
    "jumprelu_sae": ("sae", "triangle-up"),
    "vanilla_sae": ("sae", "triangle-down"),
    "gated_sae": ("sae", "triangle-right"),
    "pretrained_sae": ("sae", _TALL_DIAMOND),
    "transcoder": ("transcoder", "diamond"),
    "skip_transcoder": ("transcoder", "triangle-up"),
}
_OTHER_COLOURS = (SKY, ORANGE, PURPLE, GREEN, YELLOW)
# Symbols of methods that are not in the table above.
_OTHER_SYMBOLS = (_BOWTIE, _HOURGLASS, "triangle-left", "cross", "triangle-right", _SALTIRE, "square")


def family_colours(families: Iterable[str]) -> dict[str, str]:
    """Return the hue of each of these families."""
    others = sorted(set(families) - set(FAMILY_COLOURS))
    return {**FAMILY_COLOURS, **{name: _OTHER_COLOURS[i % len(_OTHER_COLOURS)] for i, name in enumerate(others)}}


def marks(methods: Iterable[str], families: Mapping[str, str | None] | None = None) -> dict[str, Mark]:
    """Return the mark of each method.

    Args:
        methods: registry names.
        families: family of methods that do not belong to the harness, such as those of plugins. Without one, each has
            a hue that counts as a family of its own.
    """
    given = {method: (families or {}).get(method) or "" for method in methods}
    plugins = sorted(method for method in given if method not in _MARKS)
    colours = family_colours(name for method in plugins if (name := given[method]))
    unnamed = [method for method in plugins if not given[method]]
    marks_of = {method: Mark(FAMILY_COLOURS[family], symbol) for method, (family, symbol) in _MARKS.items()}
    for number, method in enumerate(plugins):
        symbol = _OTHER_SYMBOLS[number % len(_OTHER_SYMBOLS)]
        if method in unnamed:
            # Both lengths are free of common factors, so a pair repeats as late as it can.
            colour = _OTHER_COLOURS[unnamed.index(method) % len(_OTHER_COLOURS)]
        else:
            colour = colours[given[method]]
        marks_of[method] = Mark(colour, symbol)
    return {method: marks_of[method] for method in given}
