"""``harness verify``: check a store for impossible values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.folder_verdict import print_verdict
from harness.commands.options import DEFAULT_STORE, JsonOption, StoreOption, verb
from harness.commands.output import out, print_json, warn_of_waiting


@verb("harness verify --store outputs/results.duckdb", "harness verify --strict community-results")
def verify(
    store: StoreOption = DEFAULT_STORE,
    strict: Annotated[
        Path | None,
        typer.Option(
            "--strict", metavar="FOLDER", help="Check this folder of submitted results (harness submit), not a store."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a store for impossible values: R2 above 1, win rates that do not add up, lossy lossless methods, ...

    With --strict, check a results repository too: form of every file, identities, duplicates, flags, random controls,
    seeds and versions of metrics. Each problem is listed with its reason. Exit code 1 if there is any.
    """
    if strict is not None:
        return _verify_folder(strict, as_json)
    from results.store import open_store
    from results.verify import verify as verify_store

    opened = open_store(store)
    warn_of_waiting(opened.path)
    verdict = verify_store(opened)
    if as_json:
        print_json({**verdict._asdict(), "problems": [problem._asdict() for problem in verdict.problems]})
    else:
        for name, n in verdict.checked.items():
            problems = [problem for problem in verdict.problems if problem.check == name]
            ending = f", {len(problems)} impossible" if problems else ""
            out(f"{'FAIL' if problems else 'ok  '}  {name}: {n} checked{ending}")
            for problem in problems:
                out(f"        {problem.where} {problem.why}")
        for note in verdict.notes:
            out(f"note  {note}")
    if verdict.problems:
        raise typer.Exit(1)


def _verify_folder(folder: Path, as_json: bool) -> None:
    """Check a folder of submitted results."""
    from results.submissions.strict import verify_strict

    verdict = verify_strict(folder.expanduser())
    if as_json:
        print_json(verdict.as_json())
    else:
        print_verdict(verdict)
    if verdict.problems:
        raise typer.Exit(1)
