"""``harness validity``: check which metrics can be trusted, on layers with known concepts."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.options import DEFAULT_STORE, MOST_SEED, JsonOption, StoreOption, verb
from harness.commands.output import out_short, print_json, print_text_table


@verb("harness validity --store outputs/results.duckdb --json")
def validity(
    store: StoreOption = DEFAULT_STORE,
    layer: Annotated[
        str | None,
        typer.Option(help="Use only this planted layer, e.g. planted:two_concepts@0; default: all.", metavar="NAME"),
    ] = None,
    resamples: Annotated[int, typer.Option(help="Number of bootstrap resamples.", min=100, max=1_000_000)] = 1000,
    seed: Annotated[int, typer.Option(help="Random seed of the bootstrap.", min=0, max=MOST_SEED)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Check which metrics can be trusted, on planted layers, whose concepts are known.

    For each metric: its value for the true parts and at chance, the gap, the rank correlation over methods, and a
    verdict, corrected for the number of tests. Judged boards also show how the MS score agrees with the win rate. Reads
    the cells of `harness run --suite planted`; runs nothing. See docs/validity.md.
    """
    from results.store import open_store

    opened = open_store(store)
    cells = opened.cells(backbone=layer)
    from harness.planted import report, verdicts, win_rate_agreement
    from harness.planted.evidence import gather

    evidence = gather(opened, list(cells.loc[cells["status"] == "finished", "cell_id"]))
    reports = verdicts.reports(evidence, resamples=resamples, seed=seed)
    boards = win_rate_agreement.agreements(opened, layer)
    if as_json:
        return print_json(
            {
                "kinds": report.as_json(reports),
                "tests": report.family_as_json(reports),
                "win_rate_agreement": win_rate_agreement.as_json(boards),
            }
        )
    for table in report.tables(reports, resamples=resamples):
        print_text_table(table)
    if boards:
        print_text_table(win_rate_agreement.table(boards))
    if not reports:
        where = "this store" if layer is None else f"this store for the layer {layer}"
        out_short(f"No finished planted cells in {where}; run `harness run --suite planted` first.")
