"""Options and output that several verbs share."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from harness.errors import UserError
from methods.registry import did_you_mean

if TYPE_CHECKING:
    from harness.progress import Reporter
    from results import Store

DEFAULT_STORE = Path("outputs/results.duckdb")

StoreOption = Annotated[Path, typer.Option("--store", envvar="HARNESS_STORE", help="The DuckDB file of results.")]
PluginOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        help="A Python file with a method, metric, judge panel, backbone or image set; may be given several times.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def load_plugins(files: list[Path] | None) -> list[str]:
    """Import plugin files; the names of the methods they added.

    Raises:
        UserError: for a file that is missing, raises, or registers nothing.
    """
    if not files:
        return []
    from harness.plugins import load_plugin

    return [name for file in files for kind, name in load_plugin(file) if kind == "method"]


def require_known(store: Store, **filters: str | None) -> None:
    """Refuse a value of ``--suite``, ``--backbone`` or ``--site`` that no cell of a store has.

    Raises:
        UserError: with the nearest that there is.
    """
    wanted = {name: value for name, value in filters.items() if value is not None}
    if not wanted:
        return
    rows = store.query(f"SELECT DISTINCT {', '.join(wanted)} FROM cells")
    for name, value in wanted.items():
        known = sorted(map(str, rows[name].dropna().unique()))
        if value not in known:
            raise UserError(f"--{name} {value}: no cell in this store has it. {did_you_mean(value, known)}")


def reporter_of(as_json: bool) -> Reporter:
    """Shows progress; nothing where the output is for machines."""
    from harness.progress import Silent, Terminal

    return Silent() if as_json else Terminal(Console())


@contextmanager
def reporting(as_json: bool) -> Iterator[Reporter]:
    """A reporter at work, for a verb whose steps have no number that is known before."""
    reporter = reporter_of(as_json)
    reporter.start(0, 0)
    try:
        yield reporter
    finally:
        reporter.stop()


def out(text: str) -> None:
    """Print one text as it is: no markup, no highlighting."""
    typer.echo(text)


def print_json(value: Any) -> None:
    """Print a value as indented JSON; NaN and infinity, which JSON cannot hold, as null."""
    # Where the output is no UTF-8, letters that it lacks are escaped: names must not change.
    escape = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    typer.echo(json.dumps(_finite(value), indent=2, ensure_ascii=escape, default=str, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print rows as aligned columns, one line a row."""
    if not rows:
        out("There are none.")
        return
    from results.tables import aligned

    columns = list(rows[0])
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    header, _, *lines = aligned([columns, *cells], [False] * len(columns))
    out("\n".join([header, *lines]))


def print_text_table(table: Any) -> None:
    """Print a `results.tables.Table`: its title, aligned columns, and its notes."""
    from results.tables import aligned

    out(table.title)
    out("\n".join(aligned([table.header, *table.rows], [table.right(index) for index in range(len(table.header))])))
    for note in table.notes:
        out(f"note: {note}")
    out("")


def width() -> int:
    """Columns of the terminal; wide where the output is a file, so that nothing is folded."""
    return Console().width if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "160"))


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
