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
_SIDES = (("left", 1), ("right", -1))
_STEPS_PX = (0.0, -6.0, 6.0, -12.0, 12.0)

Span = tuple[float, float]
Boxes = np.ndarray
"""(..., 4): left, low, right and high in pixels from the lower left corner of the plot."""


class Named(NamedTuple):
    """Mark with a name beside it, in the values of the plot; `radius` in pixels.

    A name may lie on a bar of another mark rather than on a mark if `bar_px`, the height of the bar, is small.
    """

    name: str
    x: float
    y: float
    radius: float
    x_bar: Span
    y_bar: Span
    bar_px: float = _BAR_PX


class Offset(NamedTuple):
    """Offset of a name from the centre of its mark, in pixels to the right and down."""

    align: str
    dx: float
    dy: float


def label_offsets(marks: Sequence[Named], x_range: Span, y_range: Span) -> list[Offset]:
    """Return the offset of each name, with the least overlap, in a plot with these ranges (low, high)."""
    if not marks:
        return []
    candidates = [_candidates(mark.radius) for mark in marks]
    planes = [_plane(marks, candidates, width, x_range, y_range) for width in WIDTHS_PX]
    # (planes, n, candidates, 4) and, without other names, (n, candidates)
    boxes, costs = np.stack([boxes for boxes, _ in planes]), np.sum([areas for _, areas in planes], axis=0)
    # Another order of choosing may avoid a poor local optimum.
    up = sorted(range(len(marks)), key=lambda number: (marks[number].y, marks[number].x))
    attempts = [_settle(order, boxes, costs) for order in (list(range(len(marks))), up, up[::-1])]
    best, _ = min(attempts, key=lambda attempt: attempt[1])
    return [offsets[chosen] for offsets, chosen in zip(candidates, best, strict=True)]


def _settle(order: Sequence[int], boxes: Boxes, costs: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the candidate chosen for each name, repeated until nothing changes, and the resulting overlap."""
    numbers = np.arange(len(costs))
    chosen = np.full(len(costs), -1)
    for _ in range(_ROUNDS):
        before = chosen.copy()
        for number in order:
            others = numbers[(chosen >= 0) & (numbers != number)]
            overlaps = shared(boxes[:, number, :, None], boxes[:, None, others, chosen[others]]).sum(axis=(0, 2))
            chosen[number] = np.argmin(costs[number] + overlaps)
        if (chosen == before).all():
            break
    final = boxes[:, numbers, chosen]
    pairs = shared(final[:, :, None], final[:, None]).sum() - shared(final, final).sum()
    return chosen, float(costs[numbers, chosen].sum() + pairs / 2)


def _candidates(radius: float) -> list[Offset]:
    """Return the offsets around a mark, the most readable first; the last ones are a little further off."""
    side, above = radius + GAP_PX, radius + GAP_PX + LINE_PX / 2
    corner, raised = 0.7 * radius + GAP_PX, radius / 2 + GAP_PX + LINE_PX / 2
    return [
        *(Offset(align, sign * corner, up * raised) for up, (align, sign) in itertools.product((-1, 1), _SIDES)),
        *(Offset("center", 0.0, up * above) for up in (-1, 1)),
        *(Offset(align, sign * side, up) for up in _STEPS_PX for align, sign in _SIDES),
        *(Offset(align, sign * (side + 8), up) for up in _STEPS_PX for align, sign in _SIDES),
    ]


def _plane(
    marks: Sequence[Named], candidates: Sequence[Sequence[Offset]], width: float, x_range: Span, y_range: Span
) -> tuple[Boxes, np.ndarray]:
    """Return the box of each name at each offset (n, candidates, 4), and its overlap without other names.

    The overlap (n, candidates) is the area that lies on marks or bars or outside of a plot of this width.
    """
    boxes, drawn = [], []
    for mark, offsets in zip(marks, candidates, strict=True):
        left, x, right = (_pixels(value, x_range, width) for value in (mark.x_bar[0], mark.x, mark.x_bar[1]))
        low, y, high = (_pixels(value, y_range, HEIGHT_PX) for value in (mark.y_bar[0], mark.y, mark.y_bar[1]))
        r, half, length = mark.radius, mark.bar_px / 2, LETTER_PX * len(mark.name)
        drawn += [(x - r, y - r, x + r, y + r), (left, y - half, right, y + half), (x - half, low, x + half, high)]
        for offset in offsets:
            start = x + offset.dx - {"left": 0.0, "center": 0.5, "right": 1.0}[offset.align] * length
            boxes.append((start, y - offset.dy - LINE_PX / 2, start + length, y - offset.dy + LINE_PX / 2))
    names = np.array(boxes).reshape(len(marks), -1, 4)
    area = (names[..., 2] - names[..., 0]) * (names[..., 3] - names[..., 1])
    outside = area - shared(names, np.array([0.0, 0.0, width, HEIGHT_PX]))
    return names, shared(names[:, :, None], np.array(drawn)).sum(axis=2) + _OUTSIDE * outside


def _pixels(value: float, span: Span, length: float) -> float:
    return length * (value - span[0]) / ((span[1] - span[0]) or 1.0)


def shared(a: Boxes, b: Boxes) -> np.ndarray:
    """Return the area that boxes share."""
    across = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    up = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    area: np.ndarray = np.maximum(across, 0.0) * np.maximum(up, 0.0)
    return area
