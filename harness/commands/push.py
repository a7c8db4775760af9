"""``harness push``: upload the fitted method of a cell to the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import DEFAULT_STORE, JsonOption, PluginOption, StoreOption, load_plugins, verb
from harness.commands.output import out, print_json


@verb("harness push a4276f2a --to hf:USER/NAME --license cc-by-4.0")
def push(
    cell: Annotated[
        str, typer.Argument(help="Id of a finished cell, its first digits, or the name of a row with one cell.")
    ],
    to: Annotated[str, typer.Option(help="Repository of the Hugging Face Hub, hf:USER/NAME; it is made if needed.")],
    store: StoreOption = DEFAULT_STORE,
    dry_run: Annotated[
        Path | None, typer.Option("--dry-run", help="Write the files to this folder instead; uses no network.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the files of a repository that this harness did not write.")
    ] = False,
    title: Annotated[
        str | None, typer.Option(help="Heading of the model card; default: the method and its backbone.")
    ] = None,
    license_id: Annotated[
        str | None,
        typer.Option("--license", help="Licence of the weights as the Hub names it, e.g. cc-by-4.0; default: none."),
    ] = None,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Upload the fitted method of one cell to the Hugging Face Hub: weights, configuration and a model card.

    The weights are safetensors. The card has the measured scores with their errors, the flags, and how to load it. Log
    in first with `hf auth login`, or set HF_TOKEN.
    """
    from harness.hub import push as push_cell
    from results.store import open_store

    load_plugins(plugin)
    pushed = push_cell(
        open_store(store),
        cell,
        to,
        dry_run=dry_run,
        private=private,
        replace=replace,
        title=title,
        license_id=license_id,
    )
    if as_json:
        print_json({**pushed._asdict(), "uploaded": pushed.uploaded._asdict() if pushed.uploaded else None})
        return
    if pushed.uploaded is None:
        out(f"Written, not uploaded: {', '.join(map(str, pushed.files))}")
    else:
        out(f"Pushed the cell {pushed.cell_id}: {pushed.uploaded.url} (revision {pushed.uploaded.revision})")
    if pushed.reference is None:
        out("pretrained_sae cannot take this method; the card says how its own class loads it.")
    else:
        out(f"Load it: methods.pretrained.load({pushed.reference!r})")
