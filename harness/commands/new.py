"""``harness new``: write a plugin template."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import verb
from harness.commands.output import out
from harness.errors import UserError


@verb("harness new method my_method.py")
def new(
    kind: Annotated[str, typer.Argument(help="Kind of plugin: method, metric, judge, backbone or dataset.")],
    path: Annotated[Path, typer.Argument(help="Python file to write; the plugin is named after it.")],
) -> None:
    """Write a commented plugin template that works without changes."""
    from harness.scaffold import next_steps, scaffold
    from harness.suites.known_names import KINDS, all_names

    names = all_names(KINDS[kind]) if kind in KINDS else []
    if names is None:
        from harness.plugins import registry_of

        names = registry_of(kind).names()
    if path.stem in names:
        raise UserError(f"There is a {kind} {path.stem!r} already; name another file, such as my_{path.stem}.py.")
    scaffold(kind, path)
    out(f"Written: {path}")
    out(f"Check:   harness check {path}")
    for line in next_steps(kind, path.stem, str(path)):
        out(line)
