"""``harness leaderboard``: print the boards of a store."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.options import JsonOption, MetricOption, SuiteCellFilter, WeightsOption, verb
from harness.commands.output import out, print_json, print_text_table, warn_of_waiting, width
from harness.errors import UserError


@verb(
    "harness leaderboard --sort r2 --all",
    "harness leaderboard --by method --metric ms_score",
    "harness leaderboard --weights ms_score=2,r2=1",
)
def leaderboard(
    cells: SuiteCellFilter,
    sort: Annotated[
        str | None, typer.Option(help="Metric to sort by; default: ms_score_token_adjusted or ms_score.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="Group the rows of all boards by method, label, backbone, site or dataset; default: no grouping."
        ),
    ] = None,
    metric: MetricOption = None,
    weights: WeightsOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Print all columns: also geometry, unit overlap, purity and chance levels.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the boards of a store: means with standard errors, one board per set of comparable rows.

    --metric needs --by. With --weights, the weighted score of the rows is printed instead, with its interval and its
    sensitivity to the weights (docs/aggregate.md).
    """
    from results.boards.build import board_json, render_text
    from results.boards.by import tables_by, tables_by_json
    from results.boards.columns import DETAILS, is_detail
    from results.comparison.headline import with_headline
    from results.comparison.leaderboard import leaderboard as boards_of_store

    if metric and (by is None or as_json):
        raise UserError("--metric chooses columns of `--by`, as text; boards, and JSON, hold all metrics.")
    if weights is not None:
        if by is not None or sort is not None or everything:
            raise UserError("--weights sorts by the weighted score of each board; leave out --by, --sort and --all.")
        return _weighted(cells, weights, as_json)
    # The column that the rows are sorted by must be visible.
    details = everything or sort in DETAILS
    store = cells.open()
    warn_of_waiting(store.path)
    boards = boards_of_store(store, **cells.filters, sort_by=sort)
    if by is not None:
        if as_json:
            return print_json(tables_by_json(boards, by))
        lead = [column.key for board in boards for column in board.columns if not is_detail(column)]
        for table in tables_by(boards, by, metric or (None if details else lead) or None):
            print_text_table(table)
        return
    if as_json:
        return print_json([board_json(with_headline(store, board)) for board in boards])
    if not boards:
        out("No cell in this store matches. `harness leaderboard` without filters shows all boards.")
    for board in boards:
        out(render_text(with_headline(store, board), width(), details=details) + "\n")


def _weighted(cells: SuiteCellFilter, text: str, as_json: bool) -> None:
    """Print the weighted scores of the boards."""
    from results.boards.weights import parsed_weights
    from results.comparison.leaderboard import leaderboard as boards_of_store
    from results.reports.weighted_score import board_scores, table, table_json

    weights = parsed_weights(text)
    store = cells.open()
    warn_of_waiting(store.path)
    of_boards = board_scores(store, boards_of_store(store, **cells.filters), weights)
    if as_json:
        return print_json([table_json(of_board) for of_board in of_boards])
    if not of_boards:
        out("No cell in this store matches. `harness leaderboard` without filters shows all boards.")
    for of_board in of_boards:
        print_text_table(table(of_board))
