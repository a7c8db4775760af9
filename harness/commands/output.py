"""Output of the command line: text, tables, JSON and progress."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from results.visible_text import short_lines, visible

if TYPE_CHECKING:
    from harness.progress import Reporter
    from results import Store
    from results.tables import Table


def reporter_of(as_json: bool) -> Reporter:
    """Return a reporter that shows progress, or a silent one if the output is JSON."""
    from harness.progress import Silent, Terminal

    return Silent() if as_json else Terminal(Console())


@contextmanager
def reporting(as_json: bool) -> Iterator[Reporter]:
    """Start and stop a reporter, for a verb whose number of steps is not known in advance."""
    reporter = reporter_of(as_json)
    reporter.start(0, 0)
    try:
        yield reporter
    finally:
        reporter.stop()


def out(text: str) -> None:
    """Print a text: no markup, no highlighting; control characters other than line ends and tabs as escapes."""
    typer.echo(visible(text))


def out_short(text: str) -> None:
    """Print lines that contain names which the user gave, as :func:`out`; very long names are shortened."""
    out(short_lines(visible(text)))


def warn_of_waiting(store: Path) -> None:
    """Print to stderr how many results wait beside a store, if any do."""
    from results.store.spool import waiting_sentence

    if sentence := waiting_sentence(store):
        typer.echo(f"note: {sentence}", err=True)


def take_in_waiting(store: Store) -> None:
    """Write the results that wait beside a store to it, and print to stderr what was done.

    Raises:
        StoreError: the store cannot be written.
    """
    from results.store.spool import take_in

    taken = take_in(store)
    for sentence in taken.damaged:
        typer.echo(f"note: {sentence}", err=True)
    if n := len(taken.recorded):
        results = "1 result" if n == 1 else f"{n} results"
        typer.echo(f"note: {results} that waited beside the store {'was' if n == 1 else 'were'} recorded.", err=True)


def print_json(value: Any) -> None:
    """Print a value as indented JSON; NaN and infinity become null."""
    # If the output is not UTF-8, other letters are escaped rather than replaced: names must not change.
    escape = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    text = json.dumps(_finite(value), indent=2, ensure_ascii=escape, default=str, allow_nan=False)
    # JSON has escapes of its own for characters that a terminal would obey: the values do not change.
    typer.echo(text if text.isascii() else "".join(map(_in_json, text)))


def _in_json(char: str) -> str:
    return char if char.isascii() or visible(char) == char else json.dumps(char)[1:-1]


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print rows as aligned columns, one line per row."""
    if not rows:
        out("No rows.")
        return
    from results.tables import aligned

    columns = list(rows[0])
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    header, _, *lines = aligned([columns, *cells], [False] * len(columns))
    out("\n".join([header, *lines]))


def print_text_table(table: Table) -> None:
    """Print a table: its title, aligned columns, and its notes."""
    from results.tables import aligned

    out(visible(table.title, keep=""))
    rows = [[visible(value, keep="") for value in row] for row in (table.header, *table.rows)]
    out("\n".join(aligned(rows, [table.right(index) for index in range(len(table.header))])))
    for note in table.notes:
        out(f"note: {visible(note, keep='')}")
    out("")


def width() -> int:
    """Return the columns of the terminal; 160 if the output is a file, so that no line is folded."""
    if sys.stdout.isatty():
        return Console().width
    given = os.environ.get("COLUMNS", "")
    return min(max(int(given), 40), 10_000) if given.isdecimal() and len(given) < 10 else 160


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else visible(value, keep="")
