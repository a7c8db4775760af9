"""``harness merge``: one store of several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import JsonOption, out, print_json


def register(app: typer.Typer) -> None:
    app.command("merge", epilog="Example: harness merge all.duckdb machine1/results.duckdb machine2/results.duckdb")(
        merge
    )


def merge(
    output: Annotated[Path, typer.Argument(help="The new store.")],
    inputs: Annotated[list[Path], typer.Argument(help="Two or more stores.")],
    prefer: Annotated[str | None, typer.Option(help="Decide conflicts: first (as given) or newest.")] = None,
    artifacts: Annotated[
        bool, typer.Option("--artifacts", help="Copy fitted weights beside the new store too.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="The new store may exist, or be one of the others.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Merge stores of several machines: each cell once; the same cell with different scores is refused.

    The inputs are only read. The new store appears whole or not at all.
    """
    from results.store.merge import merge as merge_stores

    done = merge_stores(output, inputs, prefer=prefer, artifacts=artifacts, overwrite=overwrite)
    if as_json:
        print_json({**done._asdict(), "resolved": [one._asdict() for one in done.resolved]})
        return
    out(f"{done.cells} cells, {done.duplicates} of them in several stores, in {done.path}")
    out("  " + ", ".join(f"{n} {table}" for table, n in done.rows.items() if n and table not in ("meta", "cells")))
    for cause, n in done.rounded.items():
        out(f"  {n} cells differ by no more than another {cause} explains; the first store's were kept")
    for one in done.resolved:
        out(f"  decided for the {prefer}: {one}")
    if artifacts:
        out(
            f"  {done.artifacts} artifacts copied"
            + (f", {len(done.missing_artifacts)} missing" if done.missing_artifacts else "")
        )
