"""``harness leaderboard``: what is in a store."""

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
    width,
)
from harness.errors import UserError


def register(app: typer.Typer) -> None:
    app.command(
        "leaderboard",
        epilog="Example: harness leaderboard --sort r2 --all. And: harness leaderboard --by method --metric ms_score",
    )(leaderboard)


def leaderboard(
    store: StoreOption = DEFAULT_STORE,
    suite: Annotated[str | None, typer.Option(help="Only cells that were first run for this suite.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Only this backbone.")] = None,
    site: Annotated[str | None, typer.Option(help="Only this site.")] = None,
    sort: Annotated[str | None, typer.Option(help="Metric to sort by; default ms_score.")] = None,
    by: Annotated[
        str | None, typer.Option("--by", help="Group rows of all boards by method, label, backbone, site or dataset.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="With --by: only this metric; may be given several times.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every column: also geometry, unit overlap, purity and chance levels.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print what is in a store: mean and standard deviation over seeds, one board for rows that may be compared."""
    from results.boards.build import board_json, render_text
    from results.boards.build import leaderboard as boards_of_store
    from results.boards.columns import DETAILS
    from results.store import open_store

    if metric and (by is None or as_json):
        raise UserError("--metric chooses columns of `--by`, as text; boards, and JSON, hold all metrics.")
    opened = open_store(store)
    require_known(opened, suite=suite, backbone=backbone, site=site)
    boards = boards_of_store(opened, suite=suite, backbone=backbone, site=site, sort_by=sort)
    if by is not None:
        from results.boards.by import tables_by, tables_by_json

        if as_json:
            print_json(tables_by_json(boards, by))
        else:
            for table in tables_by(boards, by, metric or None):
                print_text_table(table)
        return
    if as_json:
        print_json([board_json(board) for board in boards])
        return
    if not boards:
        out("No cell in this store matches. `harness leaderboard` without filters shows all there are.")
    # Rows sorted by a column that is not there would be a riddle.
    details = everything or sort in DETAILS
    for board in boards:
        out(render_text(board, width(), details=details) + "\n")
