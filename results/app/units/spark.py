"""Small histogram of a unit's activation, drawn as a picture: dozens of charts would take a page seconds to show."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from results.pictures.theme import GREY, SKY

_WIDTH_PX, _HEIGHT_PX, _GAP_PX = 480, 56, 4
#: Half octaves that are shown: down to 1/64 of the maximum.
N_BINS = 12


def spark(peaks: np.ndarray) -> bytes:
    """Return bars of the numbers of images by the unit's maximum on them, the strongest images right, as PNG.

    The colour is legible on a light and on a dark page.
    """
    return _spark(tuple(int(count) for count in peaks[:N_BINS]))


@lru_cache(maxsize=1024)
def _spark(counts: tuple[int, ...]) -> bytes:
    canvas = Image.new("RGBA", (_WIDTH_PX, _HEIGHT_PX), (255, 255, 255, 0))
    pen = ImageDraw.Draw(canvas)
    step = _WIDTH_PX / N_BINS
    most = max(counts, default=0) or 1
    floor = _HEIGHT_PX - 2
    pen.line((0, floor, _WIDTH_PX, floor), fill=GREY, width=2)
    for number, count in enumerate(counts):
        if count > 0:
            right = round(_WIDTH_PX - number * step)
            # One image is seen beside a thousand.
            height = max(4, round((floor - 2) * min(count / most, 1.0)))
            pen.rectangle((right - round(step) + _GAP_PX, floor - height, right - 1, floor), fill=SKY)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()
