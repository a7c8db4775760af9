"""Placement of the names of marks, without overlap with one another, with marks, bars or the plot's edge."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Plotting area of the front in a narrow and in a wide window: names are placed for both at once.
WIDTHS_PX, HEIGHT_PX = (600.0, 1090.0), 430.0
LETTER_PX, LINE_PX, GAP_PX = 6.3, 14.0, 3.0
_BAR_PX = 3.0
_OUTSIDE = 4.0
_ROUNDS = 4

Span = tuple[float, float]
Boxes = np.ndarray
"""(..., 4): left, low, right and high in pixels from the lower left corner of the plot."""


class Named(NamedTuple):
    """Mark with a name beside it, in the values of the plot; `radius` in pixels."""

    name: str
    x: float
    y: float
    radius: float
    x_bar: Span
    y_bar: Span


class Place(NamedTuple):
    """Offset of a name from the centre of its mark, in pixels to the right and down."""

    align: str
    dx: float
    dy: float


def label_places(marks: Sequence[Named], x_range: Span, y_range: Span) -> list[Place]:
    """Return the place of each name, with the least overlap, repeated until nothing changes.

    Args:
        marks: n marks.
        x_range: horizontal range of the plot, low and high.
        y_range: vertical range.
    """
    if not marks:
        return []
    candidates = [_candidates(mark) for mark in marks]
    planes = [_centres(marks, width, x_range, y_range) for width in WIDTHS_PX]
    # (planes, n, candidates, 4) and, without other names, (n, candidates)
    boxes = np.stack([_boxes(marks, candidates, centres) for centres in planes])
    alone = np.sum(
        [_alone(own, marks, width, x_range, y_range) for own, width in zip(boxes, WIDTHS_PX, strict=True)], axis=0
    )
    # Another order of choosing may avoid a poor local optimum.
    up = sorted(range(len(marks)), key=lambda number: (marks[number].y, marks[number].x))
    found = [_settle(order, boxes, alone) for order in (list(range(len(marks))), up, up[::-1])]
    best, _ = min(found, key=lambda own: own[1])
    return [places[chosen] for places, chosen in zip(candidates, best, strict=True)]


def _settle(order: Sequence[int], boxes: Boxes, alone: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the candidate chosen for each name, and the resulting overlap."""
    numbers = np.arange(len(alone))
    chosen = np.full(len(alone), -1)
    for _ in range(_ROUNDS):
        before = chosen.copy()
        for number in order:
            others = numbers[(chosen >= 0) & (numbers != number)]
            chosen[number] = np.argmin(alone[number] + _covered(boxes[:, number], boxes[:, others, chosen[others]]))
        if (chosen == before).all():
            break
    final = boxes[:, numbers, chosen]
    pairs = shared(final[:, :, None], final[:, None]).sum() - shared(final, final).sum()
    return chosen, float(alone[numbers, chosen].sum() + pairs / 2)


def _covered(own: Boxes, others: Boxes) -> np.ndarray:
    """Return the area that each of (planes, c, 4) shares with (planes, m, 4), as (c,)."""
    return shared(own[:, :, None], others[:, None]).sum(axis=(0, 2))


def _candidates(mark: Named) -> list[Place]:
    """Return the places around a mark, the most readable first; the last ones are a little further off."""
    side, above = mark.radius + GAP_PX, mark.radius + GAP_PX + LINE_PX / 2
    corner, raised = 0.7 * mark.radius + GAP_PX, mark.radius / 2 + GAP_PX + LINE_PX / 2
    return [
        *(Place(align, sign * corner, up * raised) for up, (align, sign) in itertools.product((-1, 1), _SIDES)),
        *(Place("center", 0.0, up * above) for up in (-1, 1)),
        *(Place(align, sign * side, up) for up in _STEPS_PX for align, sign in _SIDES),
        *(Place(align, sign * (side + 8), up) for up in _STEPS_PX for align, sign in _SIDES),
    ]


_SIDES = (("left", 1), ("right", -1))
_STEPS_PX = (0.0, -6.0, 6.0, -12.0, 12.0)


def _centres(marks: Sequence[Named], width: float, x_range: Span, y_range: Span) -> np.ndarray:
    """Return the centre of each mark in pixels, (n, 2)."""
    return np.array([(_pixels(mark.x, x_range, width), _pixels(mark.y, y_range, HEIGHT_PX)) for mark in marks])


def _pixels(value: float, span: Span, length: float) -> float:
    return length * (value - span[0]) / ((span[1] - span[0]) or 1.0)


def _boxes(marks: Sequence[Named], candidates: Sequence[Sequence[Place]], centres: np.ndarray) -> Boxes:
    """Return the box of each name at each of its places, (n, candidates, 4)."""
    found = []
    for mark, places, (x, y) in zip(marks, candidates, centres, strict=True):
        width = LETTER_PX * len(mark.name)
        for place in places:
            left = x + place.dx - {"left": 0.0, "center": 0.5, "right": 1.0}[place.align] * width
            found.append((left, y - place.dy - LINE_PX / 2, left + width, y - place.dy + LINE_PX / 2))
    return np.array(found).reshape(len(marks), -1, 4)


def _alone(boxes: Boxes, marks: Sequence[Named], width: float, x_range: Span, y_range: Span) -> np.ndarray:
    """Return the area of names that overlaps with drawn marks or lies outside of the plot, (n, candidates)."""
    drawn = []
    for mark, (x, y) in zip(marks, _centres(marks, width, x_range, y_range), strict=True):
        r, half = mark.radius, _BAR_PX / 2
        left, right = (_pixels(end, x_range, width) for end in mark.x_bar)
        low, high = (_pixels(end, y_range, HEIGHT_PX) for end in mark.y_bar)
        drawn += [
            (x - r, y - r, x + r, y + r),
            (left, y - half, right, y + half),
            (x - half, low, x + half, high),
        ]
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    outside = area - shared(boxes, np.array([0.0, 0.0, width, HEIGHT_PX]))
    return shared(boxes[:, :, None], np.array(drawn)).sum(axis=2) + _OUTSIDE * outside


def shared(a: Boxes, b: Boxes) -> np.ndarray:
    """Return the area that boxes share."""
    across = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    up = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    return np.maximum(across, 0.0) * np.maximum(up, 0.0)
