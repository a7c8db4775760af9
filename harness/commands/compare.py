"""``harness compare``: two rows against each other, or a store against the paper."""

from __future__ import annotations

from pathlib import Path
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
)
from harness.errors import UserError


def register(app: typer.Typer) -> None:
    app.command(
        "compare",
        epilog="Example: harness compare elude topk_sae. And: harness compare --against published --output report.md",
    )(compare)


def compare(
    a: Annotated[str | None, typer.Argument(help="A row: its label, method name or configuration id.")] = None,
    b: Annotated[str | None, typer.Argument(help="The row it is compared with.")] = None,
    against: Annotated[
        str | None, typer.Option(help="published: put the tables of the ELUDe paper beside this store, instead of A B.")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="Only this backbone.")] = None,
    site: Annotated[str | None, typer.Option(help="Only this site.")] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="Only this metric; may be given several times.")
    ] = None,
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap over units.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap's draws.", min=0)] = 0,
    table: Annotated[list[int] | None, typer.Option("--table", help="With --against: only this table, 2 to 7.")] = None,
    absent: Annotated[
        bool | None,
        typer.Option(
            "--absent/--no-absent",
            help="With --against: show published cells that were not measured. Default: not in a terminal.",
        ),
    ] = None,
    stand_ins: Annotated[
        bool,
        typer.Option("--stand-ins", help="With --against: what ran at --scale tiny, in the paper's places. A trial."),
    ] = False,
    form: Annotated[str, typer.Option("--format", help="text, markdown or latex.")] = "text",
    output: Annotated[Path | None, typer.Option(help="Write to this file instead.")] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Paired differences of two rows with intervals and corrected p-values, or published values beside measured ones.

    Rows are paired by token seed, units by the neuron they are part of. docs/comparing.md has the equations.
    """
    from harness.suites.tiny_counterparts import tiny_counterparts
    from results.comparison.paired import compare as compare_rows
    from results.comparison.text import comparison_json
    from results.comparison.text import table as table_of
    from results.export import write_text
    from results.published.report import QUANTITIES, against_published
    from results.published.rows import PAPER_COUNTERPARTS
    from results.published.text import render, report_json, tables
    from results.store import open_store
    from results.tables import latex, markdown

    forms = ("text", "markdown", "latex")
    if form not in forms:
        raise UserError(f"--format {form}: it is one of {', '.join(forms)}.")
    opened = open_store(store)
    if against is not None:
        if against != "published":
            raise UserError(f"--against {against}: there is only `published`. Two rows: harness compare A B.")
        if a is not None or b is not None:
            raise UserError("Give either two rows, or --against published.")
        if backbone is not None or site is not None or metric:
            raise UserError("--backbone, --site and --metric narrow a comparison of two rows, not --against published.")
        for number in table or ():
            if number not in QUANTITIES:
                raise UserError(
                    f"--table {number}: measured tables of the paper are {', '.join(map(str, QUANTITIES))}."
                )
        report = against_published(
            opened, tables=table, counterparts=tiny_counterparts() if stand_ins else PAPER_COUNTERPARTS
        )
        if as_json:
            print_json(report_json(report))
            return
        if form == "text" and output is None:
            for one in tables(report, absent=bool(absent)):
                print_text_table(one)
            return
        text = render(report, "latex" if form == "latex" else "markdown", absent=absent is not False)
    else:
        if a is None or b is None:
            raise UserError(
                "Say which two rows: harness compare A B (labels or methods of `harness leaderboard`), "
                "or harness compare --against published."
            )
        if table or absent is not None or stand_ins:
            raise UserError("--table, --absent, --no-absent and --stand-ins belong to --against published.")
        require_known(opened, backbone=backbone, site=site)
        comparisons = compare_rows(
            opened,
            a,
            b,
            backbone=backbone,
            site=site,
            metrics=metric or None,
            level=level,
            n_resamples=resamples,
            seed=seed,
        )
        if as_json:
            print_json([comparison_json(one) for one in comparisons])
            return
        shown = [table_of(one) for one in comparisons]
        if form == "text" and output is None:
            for one in shown:
                print_text_table(one)
            return
        text = "\n".join((latex if form == "latex" else markdown)(one) for one in shown)
    if output is None:
        out(text)
    else:
        write_text(output, text)
        out(f"Written: {output}")
