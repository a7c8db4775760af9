"""``harness merge``: combine several stores into one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import JsonOption, verb
from harness.commands.output import out, print_json


@verb("harness merge all.duckdb machine1/results.duckdb machine2/results.duckdb")
def merge(
    output: Annotated[Path, typer.Argument(help="Store to write.")],
    inputs: Annotated[list[Path], typer.Argument(help="Two or more stores to combine.")],
    prefer: Annotated[
        str | None,
        typer.Option(help="Store that wins a conflict: first (in the given order) or newest; default: refuse."),
    ] = None,
    artifacts: Annotated[
        bool, typer.Option("--artifacts", help="Also copy the fitted methods beside the new store.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUTPUT if it exists; it may be one of the inputs.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Combine the stores of several machines into one. The same cell with different scores is a conflict.

    The inputs are only read, with the results that wait beside them. If merging fails, no new store is written.
    """
    from results.store.merge import merge as merge_stores
    from results.store.spool import readable

    waiting = [path for store in inputs for path in readable(store.expanduser().absolute())]
    merged = merge_stores(output, [*inputs, *waiting], prefer=prefer, artifacts=artifacts, overwrite=overwrite)
    if as_json:
        return print_json({**merged._asdict(), "resolved": [conflict._asdict() for conflict in merged.resolved]})
    out(f"{merged.cells} cells, {merged.duplicates} of them in several stores, in {merged.path}")
    out("  " + ", ".join(f"{n} {table}" for table, n in merged.rows.items() if n and table not in ("meta", "cells")))
    if waiting:
        out(f"  {len(waiting)} results that waited beside the inputs are included")
    for cause, n in merged.rounded.items():
        out(f"  {n} cells differ only by what another {cause} explains; the values of the first store were kept")
    for conflict in merged.resolved:
        out(f"  decided for the {prefer}: {conflict}")
    if artifacts:
        missing = f", {len(merged.missing_artifacts)} missing" if merged.missing_artifacts else ""
        out(f"  {merged.artifacts} artifacts copied{missing}")
