"""Texts and pictures of exported figures: read back from the files, and from the figure before it is encoded."""

from __future__ import annotations

import html
import io
import itertools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from results import Store
from results.export.figures import page


def svg_texts(content: bytes) -> list[str]:
    """Texts of an SVG in the order of the file: matplotlib writes each beside its outlines, as a comment."""
    return [html.unescape(text) for text in re.findall(r"<!-- (.*?) -->", content.decode(), flags=re.DOTALL)]


def pixels(content: bytes) -> np.ndarray:
    """(h, w, 3) uint8 pixels of a PNG."""
    with Image.open(io.BytesIO(content)) as opened:
        return np.asarray(opened.convert("RGB"))


def drawn_boxes(module: Any, store: Store, **options: Any) -> tuple[Bbox, list[tuple[str, Bbox]]]:
    """Box of a figure, and the box of each visible text of it, in points."""
    with page.style():
        figure = module.draw(store, module.Options(**options), 100).figure
        figure.draw_without_rendering()
        texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
        # Without the room for leaders that an annotation's own box has.
        boxes = [(text.get_text(), Text.get_window_extent(text)) for text in texts]
        width, height = figure.get_size_inches() * figure.dpi
    return Bbox([[0, 0], [width, height]]), boxes


def overlaps(boxes: list[tuple[str, Bbox]], least: float = 1.0) -> Iterator[tuple[str, str]]:
    """Pairs of texts whose boxes share more than `least` points in both directions."""
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        across, up = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        if across > least and up > least:
            yield one, other


def outside(frame: Bbox, boxes: list[tuple[str, Bbox]], least: float = 1.0) -> list[str]:
    """Texts that reach beyond the figure."""
    return [
        text
        for text, box in boxes
        if box.x0 < -least or box.y0 < -least or box.x1 > frame.x1 + least or box.y1 > frame.y1 + least
    ]
