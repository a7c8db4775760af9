"""Where the names of marks stand, so that they lie neither on one another nor on another mark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# Of the plotting area of the front on a laptop; a wider window only gives names more room.
WIDTH_PX, HEIGHT_PX = 950.0, 430.0
LETTER_PX, LINE_PX, MARK_PX = 6.5, 14.0, 12.0

# plotly's name -> where the left and the lower edge lie, from the mark: in box widths and marks across, and in box
# heights and half marks up.
_PLACES: Mapping[str, tuple[float, float, float, float]] = {
    "top right": (0.0, 1.0, 0.0, 1.0),
    "bottom right": (0.0, 1.0, -1.0, -1.0),
    "top left": (-1.0, -1.0, 0.0, 1.0),
    "bottom left": (-1.0, -1.0, -1.0, -1.0),
    "top center": (-0.5, 0.0, 0.0, 1.5),
    "bottom center": (-0.5, 0.0, -1.0, -1.5),
    "middle right": (0.0, 1.5, -0.5, 0.0),
    "middle left": (-1.0, -1.5, -0.5, 0.0),
}

Box = tuple[float, float, float, float]


def label_places(
    names: Sequence[str],
    marks: Sequence[tuple[float, float]],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
) -> list[str]:
    """Return plotly's name of the place of each name, chosen one after the other where least is covered.

    Args:
        names: n.
        marks: (x, y) of each.
        x_range: what the plot shows across, low and high.
        y_range: and up.
    """
    centres = [
        (
            WIDTH_PX * (x - x_range[0]) / ((x_range[1] - x_range[0]) or 1.0),
            HEIGHT_PX * (y - y_range[0]) / ((y_range[1] - y_range[0]) or 1.0),
        )
        for x, y in marks
    ]
    covered: list[Box] = [(x - MARK_PX, y - MARK_PX, x + MARK_PX, y + MARK_PX) for x, y in centres]
    chosen = []
    for number, (name, centre) in enumerate(zip(names, centres, strict=True)):
        others = [box for place, box in enumerate(covered) if place != number]
        boxes = {place: _box(place, name, centre) for place in _PLACES}
        best = min(boxes, key=lambda place: sum(_shared(boxes[place], box) for box in others))
        covered.append(boxes[best])
        chosen.append(best)
    return chosen


def _box(place: str, name: str, centre: tuple[float, float]) -> Box:
    width = LETTER_PX * len(name)
    across, marks_across, up, marks_up = _PLACES[place]
    left = centre[0] + across * width + marks_across * MARK_PX
    low = centre[1] + up * LINE_PX + marks_up * MARK_PX / 2
    return left, low, left + width, low + LINE_PX


def _shared(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
