"""``harness export-dictionary``: write the dictionary of a cell for another program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import DEFAULT_STORE, JsonOption, PluginOption, StoreOption, load_plugins, verb
from harness.commands.output import out as print_line
from harness.commands.output import print_json


@verb(
    "harness export-dictionary a4276f2a my_sae.safetensors",
    "harness export-dictionary topk_sae sae_folder --format saelens",
    name="export-dictionary",
)
def export_dictionary(
    cell: Annotated[
        str, typer.Argument(help="Id of a finished cell, its first digits, or the name of a row with one cell.")
    ],
    out: Annotated[Path, typer.Argument(help="File to write (plain: .safetensors), or folder (saelens).")],
    store: StoreOption = DEFAULT_STORE,
    form: Annotated[str, typer.Option("--format", help="plain, or saelens: what SAE.load_from_disk loads.")] = "plain",
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing file, or an earlier export in the same folder.")
    ] = False,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the fitted sparse autoencoder or dictionary of one cell so that another program loads it.

    The normalisation of the training is part of the written tensors. The result is read back and must give the same
    codes and reconstructions.
    """
    from harness.hub import export_dictionary as export
    from results.store import open_store

    load_plugins(plugin)
    written = export(open_store(store), cell, out, format=form, force=force)
    if as_json:
        print_json(written._asdict())
        return
    print_line(f"Written: {written.path} ({written.method}: {written.n_units} units of {written.width} features)")
    if written.format == "saelens":
        print_line(f"Load it: sae_lens.SAE.load_from_disk({str(written.path)!r})")
    else:
        print_line(f"Load it: methods.pretrained.load({str(written.path)!r})")
