"""``harness efficiency``: what each method costs in the network, in the shape of the paper's Table 5."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.options import (
    DEFAULT_STORE,
    JsonOption,
    StoreOption,
    out,
    print_json,
    print_text_table,
    require_known,
)


def register(app: typer.Typer) -> None:
    app.command("efficiency", epilog="Example: harness efficiency --store outputs/results.duckdb")(efficiency)


def efficiency(
    store: StoreOption = DEFAULT_STORE,
    backbone: Annotated[str | None, typer.Option(help="Only this backbone.")] = None,
    site: Annotated[str | None, typer.Option(help="Only this site.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print time, memory and products of every way to run a method, beside the network alone.

    Nothing is timed here: `harness run --suite efficiency` does.
    """
    from results.reports.efficiency import tables, ways, ways_json
    from results.store import open_store

    opened = open_store(store)
    require_known(opened, backbone=backbone, site=site)
    found = ways(opened, backbone=backbone, site=site)
    if as_json:
        return print_json(ways_json(found))
    for table in tables(found):
        print_text_table(table)
    if not found:
        out("Nothing was timed in this store: `harness run --suite efficiency` does.")
