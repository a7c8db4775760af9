"""``harness submit``: write results as text for a results repository."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness import __version__
from harness.commands.folder_verdict import print_verdict
from harness.commands.options import JsonOption, verb
from harness.commands.output import out, print_json, warn_of_waiting
from results.location import require_location


def _checked_store(store: Path) -> Path:
    require_location(store)
    return store


@verb(
    "harness submit outputs/results.duckdb --to community-results",
    "harness submit outputs/results.duckdb --to community-results --suite demo --methods elude",
)
def submit(
    store: Annotated[Path, typer.Argument(help="Store whose results are submitted.", callback=_checked_store)],
    to: Annotated[Path, typer.Option("--to", help="Folder of the results repository; made if it is missing.")],
    cells: Annotated[
        list[str] | None, typer.Option("--cells", help="Only the cell with this id, or start of an id; repeatable.")
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option("--methods", help="Only this method, by name or label; repeatable; default: all."),
    ] = None,
    suite: Annotated[str | None, typer.Option(help="Only cells first run for this suite; default: all.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Only cells of this backbone; default: all.")] = None,
    site: Annotated[str | None, typer.Option(help="Only cells of this site; default: all.")] = None,
    note: Annotated[str, typer.Option(help="Sentence for the reviewers, kept with each result.")] = "",
    contact: Annotated[str, typer.Option(help="Who answers questions: a name or an address, which is published.")] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace results that are in the folder with other content.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write finished cells as text that can be reviewed, to the folder results/ of a repository.

    Each cell is one JSON file, with its units as Parquet files beside it. Scores of groups of cells, and tournaments
    whose cells are all submitted, go with them. The whole folder is checked afterwards, as by harness verify --strict:
    exit code 1 if it has a problem. Nothing is uploaded.
    """
    from results.submissions.choose import Wanted
    from results.submissions.strict import verify_strict
    from results.submissions.submit import submit as submit_results

    warn_of_waiting(store)
    wanted = Wanted(cells or (), methods or (), suite, backbone, site)
    submitted = submit_results(
        store, to, wanted, note=note, contact=contact, program=f"harness {__version__}", replace=replace
    )
    verdict = verify_strict(submitted.folder)
    if as_json:
        print_json({**submitted._asdict(), "folder": str(submitted.folder), "verdict": verdict.as_json()})
    else:
        counts = [
            f"{len(paths)} results {words}"
            for paths, words in (
                (submitted.written, "written"),
                (submitted.replaced, "replaced"),
                (submitted.unchanged, "unchanged"),
            )
            if paths
        ]
        out(f"{', '.join(counts)} in {submitted.folder}")
        for sentence in submitted.notes:
            out(f"note  {sentence}")
        print_verdict(verdict)
    if verdict.problems:
        raise typer.Exit(1)
