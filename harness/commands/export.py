"""``harness export``: results as files for others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import DEFAULT_STORE, StoreOption, out, require_known
from harness.errors import UserError

#: As in `results.export`, which is imported when it is needed.
DEFAULT_Y = "ms_score"


def register(app: typer.Typer) -> None:
    app.command("export", epilog="Example: harness export leaderboard.html --metric ms_score --metric accuracy")(export)


def export(
    output: Annotated[Path, typer.Argument(help="The file: .csv, .parquet, .md, .tex or .html; - prints.")],
    what: Annotated[str, typer.Option(help="boards (means over seeds), cells or scores (CSV and Parquet).")] = "boards",
    form: Annotated[
        str | None,
        typer.Option("--format", help="csv, parquet, markdown, latex or html; default: by the file's ending."),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="Only this metric; may be given several times.")
    ] = None,
    x: Annotated[
        str | None, typer.Option("--x", help="Metric across the front; default accuracy, agreement or r2.")
    ] = None,
    y: Annotated[str, typer.Option("--y", help="Metric up the front.")] = DEFAULT_Y,
    suite: Annotated[str | None, typer.Option(help="Only cells that were first run for this suite.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Only this backbone.")] = None,
    site: Annotated[str | None, typer.Option(help="Only this site.")] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write the leaderboard as CSV, Parquet, Markdown, LaTeX, or one HTML page with the Pareto front.

    The page is one file that loads nothing: it can be mailed, and opened without a network.
    """
    from results.boards.build import leaderboard
    from results.export import RAW, csv_text, exported, form_of, parquet_bytes, raw_frame, write_bytes
    from results.store import open_store

    to_screen = str(output) == "-"
    chosen = form or ("csv" if to_screen else form_of(output))
    if to_screen and chosen == "parquet":
        raise UserError("Parquet is no text: name a file.")
    if (x is not None or y != DEFAULT_Y) and (chosen != "html" or what in RAW):
        raise UserError("--x and --y choose the axes of the front, which only an HTML page of boards has.")
    opened = open_store(store)
    require_known(opened, suite=suite, backbone=backbone, site=site)
    if what in RAW:
        if chosen not in ("csv", "parquet"):
            raise UserError(f"--what {what} can be CSV or Parquet, not {chosen}.")
        if metric and what == "cells":
            raise UserError("--metric means nothing to --what cells, which holds no scores; say --what scores.")
        frame = raw_frame(opened, what)
        for name, wanted in (("suite", suite), ("backbone", backbone), ("site", site)):
            if wanted is not None:
                frame = frame[frame[name] == wanted]
        if metric and what == "scores":
            frame = frame[frame["metric"].isin(metric)]
        if frame.empty:
            raise UserError(f"There is nothing to export: no row of {what} matches.")
        content = csv_text(frame, "nan").encode() if chosen == "csv" else parquet_bytes(frame)
    elif what == "boards":
        boards = leaderboard(opened, suite=suite, backbone=backbone, site=site)
        content = exported(boards, chosen, metrics=metric or None, x=x, y=y)
    else:
        raise UserError(f"--what {what}: it is one of boards, {', '.join(RAW)}.")
    if to_screen:
        out(content.decode())
    else:
        write_bytes(output, content)
        out(f"Written: {output}")
