"""Figure of steering: images with the patches that were edited, and classes or captions before and after.

Figure 5 of the ELUDe paper has captions; class distributions before and after, with the control of random units, are
drawn as bars.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from results.errors import StoreError
from results.export.figures import page
from results.export.figures.stored_effects import CaptionEffect, ClassEffect, StoredEffect, effects_of
from results.export.figures.tile_pictures import draw_tile
from results.pictures.credits import Credit, credits_of
from results.pictures.image_files import PHOTOS, find, folders, is_photos
from results.pictures.theme import BLUE, GREY, VERMILION
from results.pictures.tiles import visible_square
from results.store.find_cell import find_cell
from results.store.records import records_of
from results.views import CENTRE, View, view_of
from results.visible_text import bounded, one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from results.store import Store

_WIDTH, _MARGIN, _TILE, _GAP = 460.0, 8.0, 120.0, 10.0
_TITLE, _TEXT, _CAPTION, _CREDIT = 8.0, 6.5, 6.5, 4.5
_NAME_WIDTH, _CHANGE_WIDTH, _BAR_HEIGHT = 120.0, 52.0, 3.6
#: Colours of the probabilities before and after, and with random units.
_COLOURS = (GREY, VERMILION, BLUE)
_NAMES = ("before", "after", "random units")


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the figure.

    Attributes:
        cell: id of a finished cell, its first digits, or the name of a row with one cell.
        effect: number of the effect among those of the cell, 1 for the newest.
        images: folder of the images; None: the shipped photographs only.
        caption: write what the figure shows below it.
    """

    cell: str | None = None
    effect: int = 1
    images: Path | None = None
    caption: bool = True


def draw(store: Store, options: Options, dpi: int) -> page.Drawing:
    """Return the figure.

    Raises:
        StoreError: there is no such cell, folder or effect.
    """
    if options.images is not None and not options.images.is_dir():
        raise StoreError(f"There is no folder {str(options.images)!r} of images; give the folder of the image set.")
    if not options.cell:
        raise StoreError("The figure of steering needs a cell: its id, or the name of a row with one cell.")
    cell = find_cell(records_of(store.cells()), options.cell)
    effects = effects_of(store, cell["cell_id"])
    if not 1 <= options.effect <= len(effects):
        raise StoreError(f"The cell {cell['cell_id']} has {len(effects)} effects: there is no effect {options.effect}.")
    effect = effects[options.effect - 1]
    files = _Files.of(cell, options.images)
    rows: Sequence[ClassEffect | CaptionEffect] = effect.classes or effect.captions
    pictures = [files.picture(row.image, dpi) for row in rows]
    caption, credit_text = _caption(cell, effect), files.credit_text()
    inside = _WIDTH - 2 * _MARGIN
    below = page.wrapped(caption, _CAPTION, inside) if options.caption else []
    credit_lines = page.wrapped(credit_text, _CREDIT, inside) if options.caption else []
    head = _MARGIN + page.LEADING * _TITLE * 1.6
    height = head + len(rows) * (_TILE + _GAP) + page.LEADING * (_CAPTION * len(below) + _CREDIT * len(credit_lines))
    figure = page.new_figure(_WIDTH, height + _MARGIN)
    axes = page.whole_page(figure)
    page.write(axes, _MARGIN, _MARGIN + _TITLE, page.shortened(effect.title, _TITLE, inside), _TITLE, weight="bold")
    y = head
    for row, picture in zip(rows, pictures, strict=True):
        draw_tile(axes, picture, row.image, _MARGIN, y, _TILE)
        left = _MARGIN + _TILE + 2 * _GAP
        if isinstance(row, ClassEffect):
            _draw_touched(axes, row, effect.side, y)
            _draw_bars(axes, row, left, y)
        else:
            _draw_captions(axes, row, left, y)
        y += _TILE + _GAP
    y = page.write_lines(axes, _MARGIN, y, below, _CAPTION)
    page.write_lines(axes, _MARGIN, y, credit_lines, _CREDIT, color=page.SOFT_INK)
    title = f"Steering of {one_line(cell['label'])}"
    return page.Drawing(figure, title, caption, credit_text, tuple(sorted(files.missing)))


@dataclasses.dataclass
class _Files:
    """Files of the images of a cell, and who is to be credited for those that are drawn."""

    image_folders: Sequence[Path]
    view: View
    credits: Mapping[str, Credit]
    used: set[str] = dataclasses.field(default_factory=set)
    missing: set[str] = dataclasses.field(default_factory=set)

    @classmethod
    def of(cls, cell: Mapping[str, Any], images: Path | None) -> _Files:
        photos = next(iter(folders(PHOTOS, None)), None) if is_photos(cell["dataset"]) else None
        return cls(
            folders(cell["dataset"], images),
            view_of(cell["identity"]) or CENTRE,
            credits_of(photos) if photos is not None else {},
        )

    def picture(self, name: str, dpi: int) -> np.ndarray | None:
        """Return the part of an image that the network saw; None if there is no file that can be read."""
        path = find(name, self.image_folders)
        px = max(1, round(_TILE / page.POINTS_PER_INCH * dpi))
        seen = None if path is None else visible_square(path, path.stat().st_mtime_ns, self.view, px)
        if seen is None:
            self.missing.add(name)
            return None
        self.used.add(name)
        return np.asarray(seen.convert("RGB"))

    def credit_text(self) -> str:
        texts = [
            f"{name}: {self.credits[name].holder}, {self.credits[name].licence}"
            for name in sorted(self.used & set(self.credits))
        ]
        return f"Photographs: {'; '.join(texts)}." if texts else ""


def _draw_touched(axes: Axes, row: ClassEffect, side: int, top: float) -> None:
    """Outline the patches that were edited; the more units, the stronger."""
    from matplotlib.patches import Rectangle

    if not side or not row.touched:
        return
    most, step = max(row.touched.values()), _TILE / side
    for position, n in row.touched.items():
        down, right = divmod(position, side)
        corner = (_MARGIN + right * step, top + down * step)
        alpha = 0.15 + 0.45 * n / most
        axes.add_patch(Rectangle(corner, step, step, facecolor=VERMILION, edgecolor="none", alpha=alpha, zorder=2))


def _draw_bars(axes: Axes, row: ClassEffect, left: float, top: float) -> None:
    """Draw three bars per class: before, after, and with random units."""
    from matplotlib.patches import Rectangle

    width = _WIDTH - _MARGIN - left - _NAME_WIDTH - _CHANGE_WIDTH
    largest = max((max(bar[1:]) for bar in row.bars), default=0.0) or 1.0
    x = left
    for colour, name in zip(_COLOURS, _NAMES, strict=True):
        axes.add_patch(Rectangle((x, top), 6, 6, facecolor=colour, edgecolor="none"))
        page.write(axes, x + 8, top + 6, name, _TEXT, color=page.SOFT_INK)
        x += 16 + page.text_width(name, _TEXT)
    y = top + 10
    step = min(14.0, (_TILE - 10) / max(len(row.bars), 1))
    thick = min(_BAR_HEIGHT, (step - 2) / 3)
    for bar in row.bars:
        name = page.shortened(bar.name, _TEXT, _NAME_WIDTH - 6)
        page.write(axes, left + _NAME_WIDTH - 4, y + 1.5 * thick, name, _TEXT, ha="right", va="center")
        for number, (colour, value) in enumerate(zip(_COLOURS, bar[1:], strict=True)):
            corner = (left + _NAME_WIDTH, y + number * thick)
            axes.add_patch(Rectangle(corner, width * value / largest, thick, facecolor=colour, edgecolor="none"))
        change = f"{100 * bar.before:.1f} → {100 * bar.after:.1f} %"
        end = left + _NAME_WIDTH + width * max(bar[1:]) / largest + 3
        page.write(axes, end, y + 1.5 * thick, change, _TEXT - 1, va="center", color=page.SOFT_INK)
        y += step


def _draw_captions(axes: Axes, row: CaptionEffect, left: float, top: float) -> None:
    """Write the settings and captions of one image."""
    inside = _WIDTH - _MARGIN - left
    y = top
    for setting, text in row.captions:
        y = page.write_lines(axes, left, y, [page.shortened(setting, _TEXT, inside)], _TEXT, weight="bold")
        y = page.write_lines(axes, left, y, page.wrapped(text, _TEXT, inside, most=3), _TEXT) + 3


def _caption(cell: Mapping[str, Any], effect: StoredEffect) -> str:
    """Return what the figure shows, in sentences."""
    layer = f"{bounded(cell['backbone_title'] or cell['backbone'], 80)} at {bounded(cell['site'], 80)}"
    units = f"{effect.n_units} units of {bounded(cell['label'], 80)} on {layer} were edited: {effect.title}."
    if effect.kind == "captions":
        return f"{units} Captions by greedy decoding, without the edit (baseline) and with it."
    return (
        f"{units} Probabilities of the classes with the largest values or changes. Red squares: patches at which units "
        "were edited, the more units the stronger. Random units: as many other units that are active on the image, "
        "with a change of equal norm."
    )
