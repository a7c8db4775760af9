"""``harness new``: a starting point for a plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import out
from harness.errors import UserError


def register(app: typer.Typer) -> None:
    app.command("new", epilog="Example: harness new method my_method.py")(new)


def new(
    kind: Annotated[str, typer.Argument(help="method, metric, judge, backbone or dataset.")],
    path: Annotated[Path, typer.Argument(help="The Python file to write; its name is the plugin's.")],
) -> None:
    """Write a commented starting point that works as it stands: edit it piece by piece, and check it in between."""
    from harness.plugins import KINDS, registry_of
    from harness.scaffold import next_steps, scaffold

    if kind in KINDS and path.stem in registry_of(kind).names():
        raise UserError(f"There is a {kind} {path.stem!r} already; name another file, such as my_{path.stem}.py.")
    scaffold(kind, path)
    out(f"Written: {path}")
    out(f"Check:   harness check {path}")
    for line in next_steps(kind, path.stem, str(path)):
        out(line)
