"""Page of a figure: matplotlib's settings, texts that are only texts, and the encoded file.

Positions are in points (1/72 inch) from the upper left corner. Nothing depends on the user's settings of matplotlib, on
the date or on the machine's fonts, so that the same drawing gives the same bytes. Texts of a store are never read as
mathematics, and never given to LaTeX.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from results.visible_text import bounded

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

POINTS_PER_INCH = 72
FONT = "DejaVu Sans"
INK, SOFT_INK = "#1a1a1a", "#555555"
#: Height of a line of text over the size of its font.
LEADING = 1.25
_ELLIPSIS = "…"
#: Settings of matplotlib. Glyphs are embedded: as outlines in SVG, as a TrueType font in PDF.
_SETTINGS: dict[str, Any] = {
    "font.family": FONT,
    "svg.fonttype": "path",
    "svg.hashsalt": "harness",
    "pdf.fonttype": 42,
    "text.usetex": False,
    "axes.formatter.use_mathtext": False,
    "axes.formatter.useoffset": False,
    "image.composite_image": False,
}
#: Form -> metadata that would be another one tomorrow, or with another version.
_NO_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Creator": None, "Date": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}
#: Form -> keys of the title and the description.
_DESCRIBED = {"png": ("Title", "Description"), "svg": ("Title", "Description"), "pdf": ("Title", "Subject")}


class Drawing(NamedTuple):
    """Drawn figure with what is said about it."""

    figure: Figure
    title: str
    caption: str
    credits: str = ""
    missing: tuple[str, ...] = ()


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw and encode with the settings of this module, whatever the user's are."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        # A letter that the font lacks is a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in points."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH), dpi=POINTS_PER_INCH, facecolor="white")


def whole_page(figure: Figure) -> Axes:
    """Return axes over the whole figure, in points from its upper left corner, without ticks and spines."""
    width, height = figure.get_size_inches() * POINTS_PER_INCH
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    return axes


def write(axes: Axes, x: float, y: float, text: str, size: float, **properties: Any) -> Text:
    """Write a text, of which dollar signs and backslashes are letters; `y` is its baseline unless `va` is given."""
    settings: dict[str, Any] = {"color": INK, "ha": "left", "va": "baseline"} | properties
    return axes.text(x, y, bounded(text), fontsize=size, parse_math=False, **settings)


def write_lines(axes: Axes, x: float, y: float, lines: Sequence[str], size: float, **properties: Any) -> float:
    """Write lines below one another, the first one's top at `y`; return the bottom of the last."""
    for number, line in enumerate(lines):
        write(axes, x, y + LEADING * size * number + size, line, size, **properties)
    return y + LEADING * size * len(lines)


def draw_image(axes: Axes, picture: np.ndarray, x: float, y: float, width: float, height: float) -> None:
    """Draw a picture (h, w, 3) uint8 with its upper left corner at (x, y), on axes of `whole_page`."""
    axes.imshow(picture, extent=(x, x + width, y + height, y), aspect="auto", interpolation="antialiased", zorder=1)


def text_width(text: str, size: float, *, weight: str = "normal") -> float:
    """Return the width of a text in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=FONT, size=size, weight=weight)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width)


def shortened(text: str, size: float, width: float, *, weight: str = "normal") -> str:
    """Return a text on one line, cut with an ellipsis so that it is at most `width` points wide."""
    line = bounded(text, 300)
    if text_width(line, size, weight=weight) <= width:
        return line
    return line[: fitting(line, size, width, weight=weight, end=_ELLIPSIS)].rstrip() + _ELLIPSIS


def fitting(text: str, size: float, width: float, *, weight: str = "normal", end: str = "") -> int:
    """Return the number of letters of the longest start of a text that, with `end`, is at most `width` points wide."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        fits = text_width(text[:middle].rstrip() + end, size, weight=weight) <= width
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def wrapped(text: str, size: float, width: float, *, most: int = 60, weight: str = "normal") -> list[str]:
    """Return a text in at most `most` lines of at most `width` points; the last is cut if there is more."""
    words = bounded(text, 20_000).split()
    lines: list[str] = []
    while words and len(lines) < most - 1:
        line = words.pop(0)
        while words and text_width(f"{line} {words[0]}", size, weight=weight) <= width:
            line += f" {words.pop(0)}"
        lines.append(shortened(line, size, width, weight=weight))
    return [*lines, shortened(" ".join(words), size, width, weight=weight)] if words else lines


def encoded(drawing: Drawing, form: str, dpi: int) -> bytes:
    """Return a figure as the bytes of a file, with its caption as metadata and without a date."""
    title, description = _DESCRIBED[form]
    metadata: dict[str, str | None] = {title: bounded(drawing.title), description: bounded(drawing.caption)}
    buffer = io.BytesIO()
    drawing.figure.savefig(buffer, format=form, dpi=dpi, metadata=metadata | _NO_METADATA[form])
    return buffer.getvalue()
