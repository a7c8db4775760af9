"""``harness merge``: combine several stores into one."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import JsonOption, verb
from harness.commands.output import out, print_json
from harness.commands.rescoring import rescored


@verb(
    "harness merge all.duckdb machine1/results.duckdb machine2/results.duckdb",
    "harness merge board.duckdb community-results",
)
def merge(
    output: Annotated[Path, typer.Argument(help="Store to write.")],
    inputs: Annotated[
        list[Path], typer.Argument(help="Two or more stores to combine, or folders of submitted results.")
    ],
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

    A folder that `harness submit` wrote is an input like a store, and may be the only one. The inputs are only read,
    with the results that wait beside them. If merging fails, no new store is written.

    Votes of people are united, of a question the last one counts, and their win rates are computed again.
    """
    from results.store.merge import merge as merge_stores
    from results.store.spool import readable
    from results.submissions.rebuild import rebuilt

    with contextlib.ExitStack() as folders:
        titles: dict[Path, str] = {}
        stores = []
        for source in (path.expanduser().absolute() for path in inputs):
            store = folders.enter_context(rebuilt(source)) if source.is_dir() else source
            titles |= {store: str(source)} if store != source else {}
            stores.append(store)
        waiting = [path for store in stores for path in readable(store)]
        merged = merge_stores(
            output,
            [*stores, *waiting],
            prefer=prefer,
            artifacts=artifacts,
            overwrite=overwrite,
            titles=titles,
            rescore=rescored,
        )
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
    if merged.votes:
        out(f"  {merged.votes} votes of people added beside the new store")
    if artifacts:
        missing = f", {len(merged.missing_artifacts)} missing" if merged.missing_artifacts else ""
        out(f"  {merged.artifacts} artifacts copied{missing}")
