"""``harness list``: list the available methods, backbones, heads, datasets, metrics and others."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from harness.commands.options import JsonOption, PluginOption, load_plugins, verb
from harness.commands.output import print_json, print_table
from harness.errors import UserError
from harness.suites.known_names import BACKBONE, require_known

#: Lists that can be printed.
Listable = StrEnum(
    "Listable",
    "methods backbones heads datasets metrics suites panels protocols executors logs scorers alterations sites",
)


@verb("harness list sites --backbone dinov2_small_saliency", name="list")
def list_(
    what: Annotated[Listable, typer.Argument(help="List to print.")],
    backbone: Annotated[
        str | None, typer.Option(help="Backbone whose layers are listed; only for `harness list sites`.")
    ] = None,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what is available, with the plugins that are installed.

    Methods, backbones, heads, datasets, metrics, suites, panels, protocols, executors, logs, scorers, alterations of
    images, or the sites of a backbone.
    """
    from harness.listing import listing

    if backbone is not None and what is not Listable.sites:
        raise UserError(f"--backbone belongs to `harness list sites`; it does not filter {what.value}.")
    if backbone is None and what is Listable.sites:
        raise UserError("The list of sites needs a backbone: harness list sites --backbone NAME.")
    load_plugins(plugin)
    if backbone is not None and ":" not in backbone:
        require_known(BACKBONE, backbone)
    rows = listing(what.value, backbone=backbone)
    if as_json:
        print_json(rows)
    else:
        print_table(rows)
