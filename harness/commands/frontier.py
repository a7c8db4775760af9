"""``harness frontier``: compare methods over several settings, as curves of R2 over L0."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from harness.commands.options import JsonOption, SuiteCellFilter, verb
from harness.commands.output import out, print_json, print_text_table, warn_of_waiting
from harness.errors import UserError


@verb("harness frontier --method topk_sae --method batchtopk_sae", "harness frontier --limits 5:40 --json")
def frontier(
    cells: SuiteCellFilter,
    x: Annotated[str, typer.Option("--x", help="Metric of the cost, on a logarithmic scale.")] = "l0",
    y: Annotated[str, typer.Option("--y", help="Metric of the value, of which more is better.")] = "r2",
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="Only this method (registry name or label); repeatable; default: all."),
    ] = None,
    limits: Annotated[
        str | None,
        typer.Option(
            help="Costs LOW:HIGH between which areas are compared; default: the range that all methods with a curve "
            "share."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare methods over their settings: the area under the best R2 for each L0.

    All rows of one method on a layer are one curve, sweeps included. See docs/aggregate.md for the equations.
    """
    from results.comparison.frontier import frontiers
    from results.reports.frontier import table, table_json

    chosen = None if limits is None else limits_of(limits)
    store = cells.open()
    warn_of_waiting(store.path)
    of_boards = frontiers(store, x=x, y=y, limits=chosen, methods=method or (), **cells.filters)
    if as_json:
        return print_json([table_json(of_board) for of_board in of_boards])
    if not of_boards:
        out("No cell in this store matches. `harness frontier` without filters shows all boards.")
    for of_board in of_boards:
        print_text_table(table(of_board))


def limits_of(text: str) -> tuple[float, float]:
    """Return the numbers of "LOW:HIGH".

    Raises:
        UserError: these are no two numbers with 0 < LOW < HIGH.
    """
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        low = high = math.nan
    if not 0 < low < high < math.inf:
        raise UserError(f"--limits {text}: use LOW:HIGH with 0 < LOW < HIGH, such as 5:40.")
    return low, high
