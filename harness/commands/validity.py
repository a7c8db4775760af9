"""``harness validity``: which metrics can be believed for which question, from layers whose truth is known."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.options import DEFAULT_STORE, JsonOption, StoreOption, out, print_json, print_text_table


def register(app: typer.Typer) -> None:
    app.command("validity", epilog="Example: harness validity --store outputs/results.duckdb --json")(validity)


def validity(
    store: StoreOption = DEFAULT_STORE,
    layer: Annotated[
        str | None, typer.Option(help="Only this planted layer, e.g. planted:two_concepts@0.", metavar="NAME")
    ] = None,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples.", min=100)] = 1000,
    seed: Annotated[int, typer.Option(help="Of the resamples.", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare metrics with planted truth: value on truth and on chance, gap, rank correlation over methods, verdict.

    Reads what `harness run --suite planted` left in the store; nothing is run. docs/validity.md explains the words.
    """
    from harness.planted import report, verdicts
    from harness.planted.evidence import gather
    from results.store import open_store

    opened = open_store(store)
    cells = opened.cells(backbone=layer)
    evidence = gather(opened, list(cells.loc[cells["status"] == "finished", "cell_id"]))
    found = verdicts.reports(evidence, resamples=resamples, seed=seed)
    if as_json:
        return print_json(report.as_json(found))
    for table in report.tables(found, resamples=resamples):
        print_text_table(table)
    if not found:
        where = "this store" if layer is None else f"this store under the layer {layer}"
        out(f"There are no finished cells of truth and chance in {where}: harness run --suite planted makes them.")
