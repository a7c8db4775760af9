"""``harness verify``: which rows of a store are impossible."""

from __future__ import annotations

import typer

from harness.commands.options import DEFAULT_STORE, JsonOption, StoreOption, out, print_json


def register(app: typer.Typer) -> None:
    app.command("verify", epilog="Example: harness verify --store outputs/results.duckdb")(verify)


def verify(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Check identities that hold in every right store: R2 <= 1, win rates sum right, lossless methods lossless, ...

    Exit code 1 where a row is impossible; each is named, with why.
    """
    from results.store import open_store
    from results.verify import verify as verify_store

    verdict = verify_store(open_store(store))
    if as_json:
        print_json({**verdict._asdict(), "problems": [one._asdict() for one in verdict.problems]})
    else:
        for name, n in verdict.checked.items():
            found = [one for one in verdict.problems if one.check == name]
            out(f"{'FAIL' if found else 'ok  '}  {name}: {n} checked" + (f", {len(found)} impossible" if found else ""))
            for one in found:
                out(f"        {one.where} {one.why}")
        for note in verdict.notes:
            out(f"note  {note}")
    if verdict.problems:
        raise typer.Exit(1)
