"""Symbols of methods (`results/pictures/theme.py`) as markers of matplotlib."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.path import Path

#: Shapes of Vega by name, as paths in a square from -1 to 1 with y downwards.
_PATHS = {
    "square": "M-.89,-.89L.89,-.89L.89,.89L-.89,.89Z",
    "diamond": "M0,-1.15L1,0L0,1.15L-1,0Z",
    "cross": "M-1,-.4L-.4,-.4L-.4,-1L.4,-1L.4,-.4L1,-.4L1,.4L.4,.4L.4,1L-.4,1L-.4,.4L-1,.4Z",
    "triangle-up": "M0,-1L1,.8L-1,.8Z",
    "triangle-down": "M0,1L1,-.8L-1,-.8Z",
    "triangle-left": "M-1,0L.8,-1L.8,1Z",
    "triangle-right": "M1,0L-.8,-1L-.8,1Z",
}
_POINT = re.compile(r"([ML])(-?[\d.]+),(-?[\d.]+)")


@lru_cache(maxsize=64)
def marker(symbol: str) -> str | Path:
    """Return the marker of a symbol: a name of `_PATHS`, "circle", or a path of straight lines."""
    from matplotlib.path import Path

    if symbol == "circle":
        return "o"
    corners = [(float(x), -float(y)) for _, x, y in _POINT.findall(_PATHS.get(symbol, symbol))]
    codes = [Path.MOVETO, *[Path.LINETO] * (len(corners) - 1), Path.CLOSEPOLY]
    return Path([*corners, corners[0]], codes)
