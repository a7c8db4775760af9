"""``harness list``: what there is."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from harness.commands.options import JsonOption, PluginOption, load_plugins, print_json, print_table
from harness.errors import UserError


class Listable(StrEnum):
    """What can be listed."""

    methods = "methods"
    backbones = "backbones"
    datasets = "datasets"
    metrics = "metrics"
    suites = "suites"
    panels = "panels"
    executors = "executors"
    sites = "sites"


def register(app: typer.Typer) -> None:
    app.command("list", epilog="Example: harness list sites --backbone dinov2_small_saliency")(list_)


def list_(
    what: Annotated[Listable, typer.Argument(help="What to list.")],
    backbone: Annotated[str | None, typer.Option(help="Whose layers, for `harness list sites`.")] = None,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """List methods, backbones, datasets, metrics, suites, judge panels, executors, or the sites of a backbone."""
    from harness.listing import listing

    if backbone is not None and what is not Listable.sites:
        raise UserError(f"--backbone belongs to `harness list sites`; {what.value} are not of one backbone.")
    load_plugins(plugin)
    rows = listing(what.value, backbone=backbone)
    if as_json:
        print_json(rows)
    else:
        print_table(rows)
