"""Options of ``harness export`` that draw a figure instead of writing a table."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.frontier import limits_of
from harness.commands.output import out
from harness.errors import UserError

if TYPE_CHECKING:
    from results import Store


@dataclasses.dataclass(frozen=True)
class FigureOptions:
    """Options that choose a figure and what is on it."""

    figure: Annotated[
        str | None,
        typer.Option(
            help="Write a figure instead (.png, .svg or .pdf): front, frontier, robustness, steering, or "
            "units with their images."
        ),
    ] = None
    cell: Annotated[
        str | None,
        typer.Option(help="units, steering: id of a finished cell, its first digits, or the name of its row."),
    ] = None
    parent: Annotated[
        int | None, typer.Option(min=0, max=10_000_000, help="units: neuron whose sub-units are drawn.")
    ] = None
    k: Annotated[
        int | None,
        typer.Option(
            "--k",
            min=1,
            max=10_000,
            help="units: number of sub-units of the neuron, of those the one with the highest mean MS score; without "
            "neurons, number of units. Default: any split neuron, or 8 units.",
        ),
    ] = None
    heat: Annotated[
        bool, typer.Option("--heat", help="units: draw where each unit is active, if the store has its maps.")
    ] = False
    effect: Annotated[
        int,
        typer.Option(min=1, max=1_000_000, help="steering: number of the kept effect of the cell; 1 is the newest."),
    ] = 1
    images: Annotated[
        Path | None,
        typer.Option(help="units, steering: folder of the images; default: HARNESS_IMAGES, or the included ones."),
    ] = None
    limits: Annotated[
        str | None,
        typer.Option(
            help="frontier: costs LOW:HIGH between which areas are compared; default: the range that all share."
        ),
    ] = None
    dpi: Annotated[
        int | None, typer.Option(min=50, max=600, help="Dots per inch of a figure as PNG, 50 to 600; default: 200.")
    ] = None
    caption: Annotated[
        bool,
        typer.Option(
            "--caption/--no-caption",
            help="Write the caption and the attribution of photographs into the figure; --no-caption prints them.",
        ),
    ] = True

    @property
    def given(self) -> dict[str, Any]:
        """Options that were given, by name, without that of the figure itself."""
        fields = (field for field in dataclasses.fields(self) if field.name != "figure")
        return {field.name: value for field in fields if (value := getattr(self, field.name)) != field.default}

    def require_none(self) -> None:
        """Refuse options of a figure without a figure.

        Raises:
            UserError: if one was given.
        """
        if self.given:
            raise UserError(
                f"{_spelled(self.given)}: only for figures; add --figure front, frontier, robustness, steering or "
                "units."
            )

    def write(self, store: Store, output: Path, others: Mapping[str, Any]) -> None:
        """Write the figure, and print where it is and what is missing on it.

        Args:
            store: the results.
            output: file to write.
            others: further options of the command that were given, by name.

        Raises:
            UserError: an option does not belong to the figure.
            StoreError: an unknown figure or suffix, a value that is not allowed, or nothing to draw.
        """
        from results.export import figure, figure_form, write_bytes
        from results.export.figures import options_of

        name = self.figure or ""
        allowed = options_of(name)
        if str(output) == "-":
            raise UserError("A figure cannot be printed: name a file (.png, .svg or .pdf) instead of `-`.")
        form = figure_form(output)
        options = {**others, **self.given}
        dpi = options.pop("dpi", None)
        wrong = [option for option in options if option not in allowed]
        if wrong:
            raise UserError(f"{_spelled(wrong)}: no option of --figure {name}, which has {_spelled(allowed)}.")
        if "images" in allowed and self.images is None and os.environ.get("HARNESS_IMAGES"):
            options["images"] = Path(os.environ["HARNESS_IMAGES"]).expanduser()
        if self.limits is not None:
            options["limits"] = limits_of(self.limits)
        drawn = figure(store, name, form, dpi=dpi, **options)
        write_bytes(output, drawn.content)
        out(f"Written: {output}")
        if drawn.missing:
            out(
                f"{len(drawn.missing)} image files are missing, for example {drawn.missing[0]}. Give the folder of the "
                "image set with --images FOLDER or HARNESS_IMAGES."
            )
        if not self.caption:
            out(" ".join(filter(None, (drawn.caption, drawn.credits))))


def _spelled(names: Any) -> str:
    return ", ".join(f"--{name}" for name in names)
