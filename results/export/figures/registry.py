"""Registry of figures, and the one function that draws and encodes any of them.

A figure is a module with two names: `Options`, a frozen dataclass of its options, each with a default, and
`draw(store, options, dpi) -> Drawing`. A new figure is a file and a line in `FIGURES`.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from results.errors import StoreError
from results.nearest_names import alternatives
from results.visible_text import names_text

if TYPE_CHECKING:
    from results.store import Store

#: Name -> module of the figure; imported when the figure is drawn.
FIGURES: Mapping[str, str] = {
    "front": "results.export.figures.front",
    "frontier": "results.export.figures.frontier",
    "robustness": "results.export.figures.robustness",
    "steering": "results.export.figures.steering",
    "units": "results.export.figures.units",
}
#: Suffixes of files, which are matplotlib's names of the formats, too.
FORMS = ("png", "svg", "pdf")
#: Dots per inch of a PNG file: default, fewest and most. Photographs in SVG and PDF have VECTOR_DPI.
DEFAULT_DPI, FEWEST_DPI, MOST_DPI = 200, 50, 600
VECTOR_DPI = 300


class FigureFile(NamedTuple):
    """Figure as the content of a file."""

    content: bytes
    caption: str
    """sentences that explain the figure, for a caption of one's own"""
    credits: str
    """attribution of the photographs; empty if there are none that need it"""
    missing: tuple[str, ...]
    """names of images whose files were not found or cannot be read"""


def figure(store: Store, name: str, form: str = "png", *, dpi: int | None = None, **options: Any) -> FigureFile:
    """Draw a figure from a store. The same store and options give the same bytes.

    Args:
        store: the results.
        name: one of `FIGURES`.
        form: "png", "svg" or "pdf".
        dpi: dots per inch of a PNG, from 50 to 600; None: 200.
        options: of the figure: fields of the class `Options` of its module.

    Raises:
        StoreError: an unknown figure, format or option, a value that is not allowed, or nothing to draw.
    """
    fields = options_of(name)
    if form not in FORMS:
        raise StoreError(f"Unknown format {form!r} of a figure; use one of {', '.join(FORMS)}.")
    if dpi is not None and form != "png":
        raise StoreError(f"dpi is the resolution of a PNG file; a figure as {form.upper()} has none.")
    if dpi is not None and not FEWEST_DPI <= dpi <= MOST_DPI:
        raise StoreError(f"dpi {dpi} is not allowed; use a number from {FEWEST_DPI} to {MOST_DPI}.")
    unknown = [option for option in options if option not in fields]
    if unknown:
        raise StoreError(
            f"{names_text(unknown)}: no option of the figure {name!r}, whose options are {', '.join(fields)}."
        )
    from results.export.figures import page

    module = importlib.import_module(FIGURES[name])
    resolution = (dpi or DEFAULT_DPI) if form == "png" else VECTOR_DPI
    with page.style():
        drawing = module.draw(store, module.Options(**options), resolution)
        content = page.encoded(drawing, form, resolution)
    return FigureFile(content, drawing.caption, drawing.credits, drawing.missing)


def options_of(name: str) -> tuple[str, ...]:
    """Return the names of the options of a figure.

    Raises:
        StoreError: an unknown figure.
    """
    if name not in FIGURES:
        raise StoreError(f"There is no figure {name!r}. {alternatives(name, list(FIGURES))}")
    module = importlib.import_module(FIGURES[name])
    return tuple(field.name for field in dataclasses.fields(module.Options))


def figure_form(path: Path) -> str:
    """Return the format of a figure's file by its suffix.

    Raises:
        StoreError: an unknown suffix.
    """
    form = path.suffix.lower().removeprefix(".")
    if form not in FORMS:
        raise StoreError(f"A figure cannot be written to {path.name!r}: use the suffix .png, .svg or .pdf.")
    return form
