"""``harness compare``: compare two rows, or a store with the tables of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.options import MOST_SEED, CellFilter, JsonOption, MetricOption, verb
from harness.commands.output import out, print_json, print_text_table
from harness.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from results.tables import Table

FORMATS = ("text", "markdown", "latex")


@verb("harness compare elude topk_sae", "harness compare --against published --output report.md")
def compare(
    cells: CellFilter,
    a: Annotated[str | None, typer.Argument(help="First row: its label, method name or configuration id.")] = None,
    b: Annotated[str | None, typer.Argument(help="Second row.")] = None,
    against: Annotated[
        str | None,
        typer.Option(help="published: compare the store with the tables of the ELUDe paper instead of A with B."),
    ] = None,
    metric: MetricOption = None,
    level: Annotated[float, typer.Option(help="Confidence level of the intervals.", min=0.01, max=0.9999)] = 0.95,
    resamples: Annotated[
        int, typer.Option(help="Number of bootstrap resamples over units.", min=100, max=1_000_000)
    ] = 2000,
    seed: Annotated[int, typer.Option(help="Random seed of the bootstrap.", min=0, max=MOST_SEED)] = 0,
    table: Annotated[
        list[int] | None,
        typer.Option(
            "--table", help="With --against: only this table, 2 to 7 or 9; repeatable; default: all.", min=1, max=9
        ),
    ] = None,
    absent: Annotated[
        bool | None,
        typer.Option(
            "--absent/--no-absent",
            help="With --against: show published cells that were not measured; default: only in files and --format.",
        ),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="Format: text, markdown or latex.")] = "text",
    output: Annotated[Path | None, typer.Option(help="File to write; default: print.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two rows, with paired differences, intervals and corrected p-values; or the store with the paper.

    Rows are paired by token seed, units by the neuron they belong to. See docs/comparing.md for the equations.
    """
    from results.export import write_text
    from results.tables import latex, markdown

    if form not in FORMATS:
        raise UserError(f"--format {form}: use one of {', '.join(FORMATS)}.")
    on_screen = form == "text" and output is None
    if against is None:
        from results.comparison.compare import compare as compare_rows
        from results.comparison.text import comparison_json
        from results.comparison.text import table as table_of

        if a is None or b is None:
            raise UserError(
                "Give two rows: harness compare A B (labels or methods of `harness leaderboard`), "
                "or harness compare --against published."
            )
        if table or absent is not None:
            raise UserError("--table, --absent and --no-absent belong to --against published.")
        comparisons = compare_rows(
            cells.open(), a, b, **cells.filters, metrics=metric or None, level=level, n_resamples=resamples, seed=seed
        )
        data: Any = [comparison_json(comparison) for comparison in comparisons]
        tables: Sequence[Table] = [table_of(comparison) for comparison in comparisons]
    else:
        from results.published.printed import QUANTITIES
        from results.published.report import against_published
        from results.published.text import report_json
        from results.published.text import tables as tables_of

        if against != "published":
            raise UserError(f"--against {against}: use `published`. To compare two rows: harness compare A B.")
        if a is not None or b is not None:
            raise UserError("Give either two rows, or --against published.")
        if any(cells.filters.values()) or metric:
            raise UserError("--backbone, --site and --metric narrow a comparison of two rows, not --against published.")
        for number in table or ():
            if number not in QUANTITIES:
                raise UserError(f"--table {number}: the measured tables are {', '.join(map(str, QUANTITIES))}.")
        report = against_published(cells.open(), tables=table)
        data = report_json(report)
        tables = tables_of(report, absent=not on_screen if absent is None else absent)
    if as_json:
        print_json(data)
    elif on_screen:
        for each_table in tables:
            print_text_table(each_table)
    else:
        text = "\n".join(map(latex if form == "latex" else markdown, tables))
        if output is None:
            out(text)
        else:
            write_text(output, text)
            out(f"Written: {output}")
