"""Placement of the names of marks, without overlap with one another, with marks, bars or the plot's edge."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LETTER_PX, LINE_PX, GAP_PX = 6.3, 14.0, 3.0
_BAR_PX = 2.0
_OUTSIDE = 4.0
_ROUNDS = 4
_SIDES = (("left", 1), ("right", -1))
_STEPS_PX = (0.0, -6.0, 6.0, -12.0, 12.0)
# Distances of names that have a line to their mark, and what each costs: an overlap of as many square pixels is better.
_FAR_PX, _FAR_COST = (22.0, 38.0, 56.0), 30.0
# A name that shares more than this many square pixels with another name, or with the outside, is left out.
_LEGIBLE_PX = 12.0

Span = tuple[float, float]
Boxes = np.ndarray
"""(..., 4): left, low, right and high in pixels from the lower left corner of the plot."""


class Frame(NamedTuple):
    """Plotting area: names are placed for all these widths of a window at once."""

    widths_px: tuple[float, ...]
    height_px: float


#: The front beside the panel of a method and alone, in windows of 700 to 1440 pixels.
WIDE = Frame((540.0, 620.0, 720.0, 860.0, 1090.0), 350.0)
#: One of several small plots.
SMALL = Frame((240.0, 300.0, 380.0), 170.0)


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
    length_px: float | None = None
    """width of the name; None: that of as many average letters"""


class Offset(NamedTuple):
    """Offset of a name from the centre of its mark, in pixels to the right and down."""

    align: str
    dx: float
    dy: float
    is_far: bool = False
    """true if a line should lead from the mark to the name"""


def label_offsets(
    marks: Sequence[Named],
    x_range: Span,
    y_range: Span,
    frame: Frame = WIDE,
    lines: Sequence[tuple[Span, Span]] = (),
) -> list[Offset | None]:
    """Return the offset of each name, with the least overlap, in a plot with these ranges (low, high).

    None is a name that has no room: of two that overlap, the latter one of `marks`. `lines` are horizontal and vertical
    lines to keep off, each with its ends across and up.
    """
    if not marks:
        return []
    candidates = [_candidates(mark.radius) for mark in marks]
    planes = [_plane(marks, candidates, lines, (width, frame.height_px), x_range, y_range) for width in frame.widths_px]
    # (planes, n, candidates, 4) and, without other names, (n, candidates)
    boxes, costs = np.stack([boxes for boxes, _ in planes]), np.sum([areas for _, areas in planes], axis=0)
    sizes = ((width, frame.height_px) for width in frame.widths_px)
    outside = np.sum([_outside(plane, *size) for plane, size in zip(boxes, sizes, strict=True)], axis=0)
    # Another order of choosing may avoid a poor local optimum.
    up = sorted(range(len(marks)), key=lambda number: (marks[number].y, marks[number].x))
    attempts = [_settle(order, boxes, costs) for order in (list(range(len(marks))), up, up[::-1])]
    best, _ = min(attempts, key=lambda attempt: attempt[1])
    legible = _legible(boxes[:, np.arange(len(marks)), best], outside[np.arange(len(marks)), best])
    return [
        offsets[chosen] if is_legible else None
        for offsets, chosen, is_legible in zip(candidates, best, legible, strict=True)
    ]


def _legible(boxes: Boxes, outside: np.ndarray) -> list[bool]:
    """Return which of the names (planes, n, 4) stay, if those that overlap an earlier one are left out."""
    kept: list[int] = []
    for number in range(boxes.shape[1]):
        overlap = shared(boxes[:, number, None], boxes[:, kept]).max(initial=0.0)
        if max(float(overlap), float(outside[number])) <= _LEGIBLE_PX:
            kept.append(number)
    return [number in kept for number in range(boxes.shape[1])]


def _settle(order: Sequence[int], boxes: Boxes, costs: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the candidate chosen for each name, repeated until nothing changes, and the resulting overlap."""
    numbers = np.arange(len(costs))
    chosen = np.full(len(costs), -1)
    for _ in range(_ROUNDS):
        before = chosen.copy()
        for number in order:
            others = numbers[(chosen >= 0) & (numbers != number)]
            overlaps = shared(boxes[:, number, :, None], boxes[:, None, others, chosen[others]]).sum(axis=(0, 2))
            # Names on names are worse than names on bars.
            chosen[number] = np.argmin(costs[number] + 3 * overlaps)
        if (chosen == before).all():
            break
    final = boxes[:, numbers, chosen]
    pairs = shared(final[:, :, None], final[:, None]).sum() - shared(final, final).sum()
    return chosen, float(costs[numbers, chosen].sum() + 3 * pairs / 2)


def _candidates(radius: float) -> list[Offset]:
    """Return the offsets around a mark, the most readable first; the last ones are further off."""
    side, above = radius + GAP_PX, radius + GAP_PX + LINE_PX / 2
    corner, raised = 0.7 * radius + GAP_PX, radius / 2 + GAP_PX + LINE_PX / 2
    near = [
        *(Offset(align, sign * corner, up * raised) for up, (align, sign) in itertools.product((-1, 1), _SIDES)),
        *(Offset("center", 0.0, up * above) for up in (-1, 1)),
        *(Offset(align, sign * side, up) for up in _STEPS_PX for align, sign in _SIDES),
        *(Offset(align, sign * (side + 8), up) for up in _STEPS_PX for align, sign in _SIDES),
    ]
    far = [
        Offset(align, sign * across, up * (radius + distance), True)
        for distance in _FAR_PX
        for up in (-1, 1)
        for align, sign in _SIDES
        for across in (4.0, distance)
    ]
    return near + far


def _cost_of(offset: Offset) -> float:
    return _FAR_COST * math.hypot(offset.dx, offset.dy) / _FAR_PX[0] if offset.is_far else 0.0


def _plane(
    marks: Sequence[Named],
    candidates: Sequence[Sequence[Offset]],
    lines: Sequence[tuple[Span, Span]],
    size: tuple[float, float],
    x_range: Span,
    y_range: Span,
) -> tuple[Boxes, np.ndarray]:
    """Return the box of each name at each offset (n, candidates, 4), and its overlap without other names.

    The overlap (n, candidates) is the area that lies on marks, bars or lines or outside of a plot of this size.
    """
    width, height = size
    boxes, drawn = [], []
    for (left, right), (low, high) in lines:
        ends = [_pixels(value, x_range, width) for value in (left, right)]
        ends += [_pixels(value, y_range, height) for value in (low, high)]
        drawn.append((ends[0] - _BAR_PX, ends[2] - _BAR_PX, ends[1] + _BAR_PX, ends[3] + _BAR_PX))
    for mark, offsets in zip(marks, candidates, strict=True):
        left, x, right = (_pixels(value, x_range, width) for value in (mark.x_bar[0], mark.x, mark.x_bar[1]))
        low, y, high = (_pixels(value, y_range, height) for value in (mark.y_bar[0], mark.y, mark.y_bar[1]))
        r, half = mark.radius, mark.bar_px / 2
        length = LETTER_PX * len(mark.name) if mark.length_px is None else mark.length_px
        drawn += [(x - r, y - r, x + r, y + r), (left, y - half, right, y + half), (x - half, low, x + half, high)]
        for offset in offsets:
            start = x + offset.dx - {"left": 0.0, "center": 0.5, "right": 1.0}[offset.align] * length
            boxes.append((start, y - offset.dy - LINE_PX / 2, start + length, y - offset.dy + LINE_PX / 2))
    names = np.array(boxes).reshape(len(marks), -1, 4)
    far = np.array([[_cost_of(offset) for offset in offsets] for offsets in candidates])
    hidden = shared(names[:, :, None], np.array(drawn)).sum(axis=2)
    return names, hidden + _OUTSIDE * _outside(names, width, height) + far


def _outside(names: Boxes, width: float, height: float) -> np.ndarray:
    """Return the area of each name that lies outside of a plot."""
    whole = (names[..., 2] - names[..., 0]) * (names[..., 3] - names[..., 1])
    outside: np.ndarray = whole - shared(names, np.array([0.0, 0.0, width, height]))
    return outside


def _pixels(value: float, span: Span, length: float) -> float:
    return length * (value - span[0]) / ((span[1] - span[0]) or 1.0)


def shared(a: Boxes, b: Boxes) -> np.ndarray:
    """Return the area that boxes share."""
    across = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    up = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    area: np.ndarray = np.maximum(across, 0.0) * np.maximum(up, 0.0)
    return area
