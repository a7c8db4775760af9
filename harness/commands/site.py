"""``harness site``: write a leaderboard as a folder of plain files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import DEFAULT_STORE, JsonOption, StoreOption, verb
from harness.commands.output import out, print_json, reporting, warn_of_waiting
from harness.commands.rescoring import rescored


@verb("harness site outputs/results.duckdb public/", "harness site a.duckdb b.duckdb public/ --title 'Our board'")
def site(
    stores: Annotated[
        list[Path] | None,
        typer.Argument(metavar="STORE", help="Stores of the site, one leaderboard; default: that of --store."),
    ] = None,
    *,
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write: new, empty, or a site of this verb.")],
    store: StoreOption = DEFAULT_STORE,
    title: Annotated[str, typer.Option(help="Title of the site.")] = "Disentanglement leaderboard",
    units: Annotated[
        int,
        typer.Option(help="Units per method, those with the highest MS scores; 0 leaves pictures out.", min=0, max=60),
    ] = 12,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of the images of other data sets than the shipped photographs; needs --license."),
    ] = None,
    licence: Annotated[
        str, typer.Option("--license", help="Licence and holder of the images in --images, as shown on the site.")
    ] = "",
    prefer: Annotated[
        str | None,
        typer.Option(help="Store that wins a conflict: first (in the given order) or newest; default: refuse."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also write into a folder with other content, which is kept.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a leaderboard as a folder of plain files that opens from disk and from any static host.

    Fronts, boards, a page per method, and its top units with images and heat maps. Several stores make one leaderboard
    that says where each row came from. The shipped photographs are included with their attribution; other images only
    with --images and --license.
    """
    from harness.errors import UserError
    from results.site import SiteOptions, write_site
    from results.store import open_store

    if images is not None and not images.is_dir():
        raise UserError(f"There is no folder {str(images)!r} for --images; give the folder of the image set.")
    paths = stores or [store]
    for path in paths:
        warn_of_waiting(open_store(path).path)
    options = SiteOptions(title=title, units=units, images=images, licence=licence, prefer=prefer, force=force)
    with reporting(as_json) as reporter:
        written = write_site(paths, folder, options, progress=reporter.progress, rescore=rescored)
    if as_json:
        return print_json(written._asdict())
    for note in written.notes:
        out(f"note: {note}")
    out(
        f"{written.path}: {written.files} files, {written.size / 1e6:.1f} MB, {written.layers} layers, "
        f"{written.rows} rows, {written.units} units. Open {written.path / 'index.html'} in a browser."
    )
