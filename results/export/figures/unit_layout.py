"""Layout of the figure of units: positions of the panels, in points from the upper left corner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from results.export.figures import page

#: Width of a page of two columns, and the largest side of an image.
_PAGE, _LARGEST_TILE = 504.0, 46.0
MARGIN, TILE_GAP, FRAME = 6.0, 1.5, 2.0
_PANEL_GAP, _PARENT_GAP = 9.0, 16.0
LABEL_SIZE, NAME_SIZE = 7.0, 6.0
#: Lines of a label.
_LABEL_LINES = 2
_MOST_COLUMNS = 5
#: Images along a side of the parent's panel, and of a unit's.
PARENT_SIDE, UNIT_SIDE = 4, 2


class Box(NamedTuple):
    """Place of one panel."""

    left: float
    top: float
    """of its frame; the texts are above"""
    side: float
    """of its frame"""
    tile: float
    """side of an image"""
    images: int
    """along a side"""
    label: tuple[str, ...]


class Layout(NamedTuple):
    """Places of all panels."""

    width: float
    height: float
    parent: Box | None
    units: tuple[Box, ...]


def layout(labels: Sequence[str], parent: str | None) -> Layout:
    """Return the places of one panel per label, beside that of a parent with its label; None: there is no parent.

    Beside a parent the panels have two rows, and more from eleven on; the lower edges of its panel and of the second
    row are level.
    """
    n = len(labels)
    is_one_row = n == 1 or (parent is None and n < _MOST_COLUMNS)
    columns = n if is_one_row else min(_MOST_COLUMNS, math.ceil(n / 2))
    rows = math.ceil(n / columns)
    texts = [*labels, parent or ""]
    title = _title_height(1 if any(texts) else 0)
    tile = _tile(columns, rows, title, has_parent=parent is not None)
    # The number of lines follows from the width of a panel, and the height of the parent's panel from that number.
    title = _title_height(max(len(_label(label, _side(tile, UNIT_SIDE))) for label in texts))
    tile = _tile(columns, rows, title, has_parent=parent is not None)
    side = _side(tile, UNIT_SIDE)
    large = _parent_side(tile, rows, title)
    left = MARGIN + (large + _PARENT_GAP if parent is not None else 0.0)
    top, step = MARGIN + title, title + side + _PANEL_GAP
    boxes = tuple(
        Box(
            left + (number % columns) * (side + _PANEL_GAP),
            top + (number // columns) * step,
            side,
            tile,
            UNIT_SIDE,
            tuple(_label(label, side)),
        )
        for number, label in enumerate(labels)
    )
    width = left + columns * (side + _PANEL_GAP) - _PANEL_GAP + MARGIN
    height = top + (rows - 1) * step + side
    if parent is None:
        return Layout(width, height + MARGIN, None, boxes)
    parent_tile = (large - 2 * FRAME - (PARENT_SIDE - 1) * TILE_GAP) / PARENT_SIDE
    parent_box = Box(MARGIN, top, large, parent_tile, PARENT_SIDE, tuple(_label(parent, large)))
    return Layout(width, max(height, top + large) + MARGIN, parent_box, boxes)


def _side(tile: float, images: int) -> float:
    return images * tile + (images - 1) * TILE_GAP + 2 * FRAME


def _parent_side(tile: float, rows: int, title: float) -> float:
    """Return the side of the parent's panel: level with the second row, if there is one."""
    if rows == 1:
        return _side(tile, PARENT_SIDE)
    return 2 * _side(tile, UNIT_SIDE) + title + _PANEL_GAP


def _tile(columns: int, rows: int, title: float, *, has_parent: bool) -> float:
    """Return the side of a unit's image with which the figure is as wide as the page, or the largest one."""

    def width(tile: float) -> float:
        of_parent = _parent_side(tile, rows, title) + _PARENT_GAP if has_parent else 0.0
        return 2 * MARGIN + of_parent + columns * (_side(tile, UNIT_SIDE) + _PANEL_GAP) - _PANEL_GAP

    # The width is linear in the side of an image.
    per_point = width(1.0) - width(0.0)
    return min(_LARGEST_TILE, (_PAGE - width(0.0)) / per_point)


def _title_height(label_lines: int) -> float:
    return page.LEADING * (LABEL_SIZE * label_lines + NAME_SIZE) + 2


def _label(label: str, width: float) -> list[str]:
    return page.wrapped(label, LABEL_SIZE, width, most=_LABEL_LINES, weight="bold")
