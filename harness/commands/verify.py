"""``harness verify``: check a store for impossible values."""

from __future__ import annotations

import typer

from harness.commands.options import DEFAULT_STORE, JsonOption, StoreOption, verb
from harness.commands.output import out, print_json, warn_of_waiting


@verb("harness verify --store outputs/results.duckdb")
def verify(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Check a store for impossible values: R2 above 1, win rates that do not add up, lossy lossless methods, ...

    Each problem is listed with its reason. Exit code 1 if there is any.
    """
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
