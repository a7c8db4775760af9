"""Shapes of marks: those of Vega by name, and others as SVG paths in a square from -1 to 1."""

from __future__ import annotations

import math
from collections.abc import Sequence

_Corners = Sequence[tuple[float, float]]


def _path(corners: _Corners) -> str:
    return "M" + "L".join(f"{x:.3f},{y:.3f}" for x, y in corners) + "Z"


def _polygon(n: int, radius: float = 1.0, turn: float = 0.0) -> list[tuple[float, float]]:
    """Return the corners of a regular polygon, the first on top unless it is turned (in full turns)."""
    angles = [2 * math.pi * (number / n + turn) for number in range(n)]
    return [(radius * math.sin(angle), -radius * math.cos(angle)) for angle in angles]


def _star() -> str:
    outer, inner = _polygon(5), _polygon(5, 0.42, 0.1)
    return _path([corner for pair in zip(outer, inner, strict=True) for corner in pair])


def _saltire(arm: float = 0.32) -> str:
    """Return an x: a cross rotated by an eighth of a turn."""
    a, b = arm, 1.0
    cross = [(a, b), (a, a), (b, a), (b, -a), (a, -a), (a, -b), (-a, -b), (-a, -a), (-b, -a), (-b, a), (-a, a), (-a, b)]
    return _path([((x + y) / 1.6, (y - x) / 1.6) for x, y in cross])


_PATHS = {
    "star": _star(),
    "x": _saltire(),
    "pentagon": _path(_polygon(5)),
    "hexagon": _path(_polygon(6)),
    "diamond-tall": _path([(0, -1.1), (0.6, 0), (0, 1.1), (-0.6, 0)]),
    "bowtie": _path([(-1, -0.8), (1, 0.8), (1, -0.8), (-1, 0.8)]),
    "hourglass": _path([(-0.8, -1), (0.8, 1), (-0.8, 1), (0.8, -1)]),
}


def shape(symbol: str) -> str:
    """Return the Vega shape for a symbol of `results.app.theme`."""
    return _PATHS.get(symbol, symbol)
