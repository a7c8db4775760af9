"""``harness export``: write results to a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.figure_options import FigureOptions
from harness.commands.options import MetricOption, SuiteCellFilter, WeightsOption, verb
from harness.commands.output import out
from harness.errors import UserError


@verb(
    "harness export leaderboard.html --metric ms_score --metric accuracy",
    "harness export units.pdf --figure units --cell elude --k 4",
    "harness export scores.json --weights ms_score=2,r2=1",
)
def export(
    output: Annotated[
        Path,
        typer.Argument(
            help="File to write: .csv, .parquet, .md, .tex or .html; - prints. Figures: .png, .svg, .pdf. "
            "Weighted scores: .json, too."
        ),
    ],
    cells: SuiteCellFilter,
    figures: FigureOptions,
    what: Annotated[
        str | None,
        typer.Option(
            help="Rows to write: boards (means over seeds), or cells, scores or labels (CSV, Parquet); default: boards."
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help="csv, parquet, markdown, latex or html; default: by the suffix of the file."),
    ] = None,
    metric: MetricOption = None,
    weights: WeightsOption = None,
    x: Annotated[
        str | None,
        typer.Option(
            "--x", help="Metric on the x axis of the Pareto front (HTML, figure); default: r2, agreement or accuracy."
        ),
    ] = None,
    y: Annotated[
        str | None,
        typer.Option("--y", help="Metric on the y axis; default: ms_score_token_adjusted or ms_score."),
    ] = None,
) -> None:
    """Write the leaderboard as CSV, Parquet, Markdown, LaTeX, or one HTML page with the Pareto front; or a figure.

    The page is a single file that loads nothing from the network. With --figure, the front of one board, or units with
    their top images, is drawn for print. With --weights, the weighted scores of the rows are written
    (docs/aggregate.md).
    """
    axes = {name: value for name, value in (("x", x), ("y", y)) if value is not None}
    if figures.figure is not None:
        given = {"what": what, "format": form, "metric": metric, "weights": weights, **cells.filters}
        figures.write(cells.open(), output, {name: value for name, value in given.items() if value} | axes)
        return
    figures.require_none()
    if weights is not None:
        if axes or metric or what not in (None, "boards"):
            raise UserError("--weights writes the weighted scores of boards; leave out --what, --metric, --x and --y.")
        return _weighted(cells, output, weights, form)
    what = what or "boards"
    from results.comparison.headline import with_headline
    from results.comparison.leaderboard import leaderboard
    from results.export import RAW, csv_text, exported, form_of, parquet_bytes, raw_frame

    chosen = _table_form(output, form, form_of)
    if axes and (chosen != "html" or what in RAW):
        raise UserError(
            "--x and --y choose the axes of the front, which only an HTML page of boards and --figure front have."
        )
    store = cells.open()
    if what in RAW:
        if chosen not in ("csv", "parquet"):
            raise UserError(f"--what {what} can be CSV or Parquet, not {chosen}.")
        if metric and what != "scores":
            raise UserError(f"--metric cannot be used with --what {what}, which has no scores; use --what scores.")
        frame = raw_frame(store, what)
        for column, value in cells.filters.items():
            if value is not None:
                frame = frame[frame[column] == value]
        if metric and what == "scores":
            frame = frame[frame["metric"].isin(metric)]
        if frame.empty:
            raise UserError(f"There is nothing to export: no row of {what} matches.")
        content = csv_text(frame, "nan").encode() if chosen == "csv" else parquet_bytes(frame)
    elif what == "boards":
        boards = leaderboard(store, **cells.filters)
        if chosen not in ("csv", "parquet"):
            boards = [with_headline(store, board) for board in boards]
        content = exported(boards, chosen, metrics=metric or None, x=x, y=y)
    else:
        raise UserError(f"--what {what}: use one of boards, {', '.join(RAW)}.")
    _give(output, content)


def _weighted(cells: SuiteCellFilter, output: Path, text: str, form: str | None) -> None:
    """Write the weighted scores of the boards."""
    from results.boards.weights import parsed_weights
    from results.comparison.leaderboard import leaderboard
    from results.export.tables import exported_tables, table_form_of
    from results.reports.weighted_score import board_scores, frame, table, table_json

    weights = parsed_weights(text)
    chosen = _table_form(output, form, table_form_of)
    store = cells.open()
    of_boards = board_scores(store, leaderboard(store, **cells.filters), weights)
    values = [table_json(of_board) for of_board in of_boards]
    content = [table(of_board) for of_board in of_boards]
    _give(output, exported_tables("Weighted scores", content, frame(of_boards), values, chosen))


def _table_form(output: Path, form: str | None, form_of: Callable[[Path], str]) -> str:
    """Return the format that was given, or that of the file; CSV on the screen."""
    is_screen = str(output) == "-"
    chosen = form or ("csv" if is_screen else form_of(output))
    if is_screen and chosen == "parquet":
        raise UserError("Parquet cannot be printed: name a file instead of `-`.")
    return chosen


def _give(output: Path, content: bytes) -> None:
    """Print a file's content, or write it and print where it is."""
    from results.export import write_bytes

    if str(output) == "-":
        out(content.decode())
    else:
        write_bytes(output, content)
        out(f"Written: {output}")
