"""Figure of units: the top images of a neuron and of the sub-units that it was split into, or a method's best units.

The layout is that of Figures 3 and 11 to 17 of the ELUDe paper: the top 16 images of the neuron in a yellow frame on
the left, the top 4 of each sub-unit in a pink frame on the right. A method without neurons, such as a sparse
autoencoder, has the panels of its best units only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from results.boards.trials import MARK, trial_notes
from results.errors import StoreError
from results.export.figures import page
from results.export.figures.tile_pictures import Pictures, draw_tile
from results.export.figures.unit_choice import Choice, ChosenUnit, choose, is_defined, labels_of
from results.export.figures.unit_layout import FRAME, LABEL_SIZE, MARGIN, NAME_SIZE, TILE_GAP, UNIT_SIDE, Box, layout
from results.nearest_names import alternatives
from results.pictures.theme import ORANGE, PURPLE
from results.short_number import short_number
from results.store.find_cell import find_cell
from results.store.records import records_of
from results.visible_text import bounded, names_text, one_line

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

    from results.store import Store

_SMALLEST_NAME, _CAPTION_SIZE, _CREDIT_SIZE, _BELOW_GAP, _LINE_WIDTH = 4.5, 6.5, 4.5, 6.0, 1.3


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the figure.

    Attributes:
        cell: id of a finished cell, its first digits, or the name of a row with one cell.
        parent: neuron whose sub-units are drawn.
        k: number of sub-units of the neuron, or of units of a method without neurons.
        backbone, site, suite: of the cells among which `cell` is looked for; None: all.
        heat: draw where each unit is active, on images whose map is in the store.
        images: folder of the evaluation images; None: the shipped photographs only.
        caption: write what the figure shows below it.
    """

    cell: str | None = None
    parent: int | None = None
    k: int | None = None
    backbone: str | None = None
    site: str | None = None
    suite: str | None = None
    heat: bool = False
    images: Path | None = None
    caption: bool = True


class _Panel(NamedTuple):
    """Images of one unit, with its texts."""

    unit: ChosenUnit
    cell_id: str
    name: str
    box: Box
    colour: str


def draw(store: Store, options: Options, dpi: int) -> page.Drawing:
    """Return the figure.

    Raises:
        StoreError: there is no such cell, neuron or folder, or the cell has no units to draw.
    """
    cell = _cell(store, options)
    choice = choose(store, cell, parent=options.parent, k=options.k)
    labels, kind = labels_of(store, cell["cell_id"], [unit.number for unit in choice.units])
    places = layout([labels.get(unit.number, "") for unit in choice.units], _parent_label(store, choice))
    panels = [
        _Panel(unit, cell["cell_id"], _name("unit", unit), box, PURPLE)
        for unit, box in zip(choice.units, places.units, strict=True)
    ]
    if choice.parent_unit is not None and places.parent is not None:
        neuron, of_cell = choice.parent_unit, choice.parent_cell or cell["cell_id"]
        panels.insert(0, _Panel(neuron, of_cell, _name("neuron", neuron), places.parent, ORANGE))
    units = [(panel.cell_id, panel.unit) for panel in panels]
    pictures = Pictures.of(store, cell, units, options.images, heat=options.heat)
    tiles = [_tiles(panel, pictures, dpi) for panel in panels]
    caption, credit_text = _caption(cell, choice, kind if labels else "", pictures), pictures.credit_text()
    below = _Below.of(caption, credit_text, places.width) if options.caption else _Below((), ())
    figure = page.new_figure(places.width, places.height + below.height)
    axes = page.whole_page(figure)
    for panel, of_panel in zip(panels, tiles, strict=True):
        _draw_panel(axes, panel, of_panel)
    below.draw(axes, places.height)
    title = f"Units of {one_line(cell['label'])}"
    return page.Drawing(figure, title, caption, credit_text, tuple(sorted(pictures.missing)))


def _cell(store: Store, options: Options) -> Mapping[str, Any]:
    """Return the finished cell of the options."""
    folder = options.images
    if folder is not None and not folder.is_dir():
        raise StoreError(f"There is no folder {str(folder)!r} of images; give the folder of the image set.")
    wanted = {name: getattr(options, name) for name in ("backbone", "site", "suite")}
    cells = [
        cell
        for cell in records_of(store.cells())
        if all(value is None or cell[name] == value for name, value in wanted.items())
    ]
    if not cells:
        given = names_text([f"{name} {value}" for name, value in wanted.items() if value is not None])
        raise StoreError(f"No cell of this store has these: {given}.")
    finished = list(dict.fromkeys(one_line(cell["label"]) for cell in cells if cell["status"] == "finished"))
    if not options.cell:
        raise StoreError(
            f"The figure of units needs a cell: its id, or the name of a row. {alternatives('', finished)}"
        )
    cell = find_cell(cells, options.cell)
    if cell["status"] != "finished":
        raise StoreError(f"The cell {cell['cell_id']} has failed: choose one that has finished.")
    return cell


def _parent_label(store: Store, choice: Choice) -> str | None:
    """Return the label of the neuron, empty if it has none; None for a method without neurons."""
    if choice.parent_unit is None:
        return None
    number = choice.parent_unit.number
    return "" if choice.parent_cell is None else labels_of(store, choice.parent_cell, [number])[0].get(number, "")


def _name(kind: str, unit: ChosenUnit) -> str:
    """Return a unit's number and MS score: "unit 5 · MS 57.2 %"."""
    if unit.ms_score is None:
        return f"{kind} {unit.number}"
    score = f"{short_number(100 * unit.ms_score)} %" if is_defined(unit.ms_score) else "undefined"
    return f"{kind} {unit.number} · MS {score}"


class _Below(NamedTuple):
    """Texts below the panels."""

    caption: tuple[str, ...]
    credit_lines: tuple[str, ...]

    @classmethod
    def of(cls, caption: str, credit_text: str, width: float) -> _Below:
        """Return the texts in lines of a figure of this width."""
        inside = width - 2 * MARGIN
        lines = page.wrapped(caption, _CAPTION_SIZE, inside), page.wrapped(credit_text, _CREDIT_SIZE, inside)
        return cls(tuple(lines[0]), tuple(lines[1]))

    @property
    def height(self) -> float:
        """Height in points, the distance from the panels included."""
        lines = _CAPTION_SIZE * len(self.caption) + _CREDIT_SIZE * len(self.credit_lines)
        return page.LEADING * lines + (_BELOW_GAP if self.caption else 0) + (_BELOW_GAP if self.credit_lines else 0)

    def draw(self, axes: Axes, top: float) -> None:
        """Write the texts from `top` on."""
        bottom = page.write_lines(axes, MARGIN, top + _BELOW_GAP / 2, self.caption, _CAPTION_SIZE)
        page.write_lines(axes, MARGIN, bottom + _BELOW_GAP / 2, self.credit_lines, _CREDIT_SIZE, color=page.SOFT_INK)


def _tiles(panel: _Panel, pictures: Pictures, dpi: int) -> list[tuple[np.ndarray | None, str]]:
    """Return the picture and the name of each image of a panel."""
    px = max(1, round(panel.box.tile / page.POINTS_PER_INCH * dpi))
    images = panel.unit.images[: panel.box.images**2]
    return [(pictures.tile(panel.cell_id, panel.unit, image, px), pictures.name(image)) for image in images]


def _draw_panel(axes: Axes, panel: _Panel, tiles: Sequence[tuple[np.ndarray | None, str]]) -> None:
    from matplotlib.patches import Rectangle

    box = panel.box
    middle = box.left + box.side / 2
    # Texts end above the frame, whatever the number of lines of their neighbours.
    y = box.top - 2 - page.LEADING * (LABEL_SIZE * len(box.label) + NAME_SIZE)
    y = page.write_lines(axes, middle, y, box.label, LABEL_SIZE, ha="center", weight="bold")
    size = max(_SMALLEST_NAME, min(NAME_SIZE, NAME_SIZE * box.side / page.text_width(panel.name, NAME_SIZE)))
    name = page.shortened(panel.name, size, box.side)
    page.write(axes, middle, y + NAME_SIZE, name, size, ha="center", color=page.SOFT_INK)
    corner, side = (box.left + FRAME / 2, box.top + FRAME / 2), box.side - FRAME
    axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=panel.colour, linewidth=_LINE_WIDTH))
    if not tiles:
        page.write(axes, middle, box.top + box.side / 2, "not active", NAME_SIZE, ha="center", color=page.SOFT_INK)
    for number, (tile, file_name) in enumerate(tiles):
        row, column = divmod(number, box.images)
        x, y = (start + FRAME + step * (box.tile + TILE_GAP) for start, step in ((box.left, column), (box.top, row)))
        draw_tile(axes, tile, file_name, x, y, box.tile)


def _caption(cell: Mapping[str, Any], choice: Choice, labels: str, pictures: Pictures) -> str:
    """Return what the figure shows, in sentences."""
    layer = f"{bounded(cell['backbone_title'] or cell['backbone'], 80)} at {bounded(cell['site'], 80)}"
    seed = "" if cell["token_seed"] is None else f", token seed {cell['token_seed']}"
    method = f"{bounded(cell['label'], 80)} on {layer}{seed}"
    sentences = [f"{MARK[0].upper()}{MARK[1:]}."] if trial_notes([cell]) else []
    if choice.parent_unit is None:
        n = len(choice.units)
        units = f"The {n} units with the highest MS scores" if n > 1 else "The unit with the highest MS score"
        sentences += [f"{units} of {method}: top {UNIT_SIDE**2} images each."]
    else:
        parts = f"its {choice.n_units} sub-units"
        if choice.n_units > len(choice.units):
            parts = f"the {len(choice.units)} of its {choice.n_units} sub-units with the highest MS scores"
        if choice.n_units == 1:
            sentences += [f"Neuron {choice.parent} (left), and as the only unit (right) into which {method} splits it."]
        else:
            sentences += [f"Neuron {choice.parent} (left) and {parts} (right), split by {method}."]
        top = f"Top {UNIT_SIDE**2} images of each sub-unit"
        if choice.parent_cell is not None:
            sentences += [f"{top}, and top {len(choice.parent_unit.images)} of the neuron."]
        else:
            sentences += [
                f"{top}. The store has no cell of the backbone's own neurons on these images, so the left panel has "
                "the union of the sub-units' top images, by activation."
            ]
    if any(unit.ms_score is not None for unit in choice.units):
        sentences += ["MS: monosemanticity score."]
    sentences += [f"In bold: {labels}."] if labels else []
    sentences += pictures.notes()
    return " ".join(sentences)
