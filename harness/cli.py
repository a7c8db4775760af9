"""Command line: registers the commands of :mod:`harness.commands` and prints errors without a traceback."""

from __future__ import annotations

import errno
import importlib
import io
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from harness import __version__, commands
from harness.commands.options import VERBS, add_verb
from methods.errors import UserError
from methods.plugin_errors import line_in_plugin, type_and_text, warn_in_a_sentence
from results.errors import StoreError
from results.visible_text import short_lines, visible

EPILOG = """
[bold]Try it[/bold] (about nine minutes on two cores):  harness run --suite demo

[bold]Use your backbone and images[/bold]:  harness run --suite demo --backbone timm:vit_base_patch14_dinov2
--checkpoint FILE --site blocks.11.mlp.fc2 --dataset folder:/path/to/class_folders

[bold]Add your method[/bold]:  harness run --suite demo --plugin my_method.py

[bold]Show results[/bold]:  harness leaderboard --store outputs/results.duckdb
"""


@contextmanager
def _short_messages() -> Iterator[None]:
    """Shorten the messages about wrong options within the context, and escape control characters in them."""
    try:
        yield
    except Exception as error:
        # Typer has its own copy of click, whose classes are private: an error has a message and formats it.
        if hasattr(error, "format_message") and isinstance(message := getattr(error, "message", None), str):
            error.message = short_lines(visible(message.removeprefix("Value error, ")))  # type: ignore[attr-defined]
        raise


class _Group(TyperGroup):
    """All verbs; messages about what was typed are bounded."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with _short_messages():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        with _short_messages():
            return super().invoke(ctx)


app = typer.Typer(
    name="harness",
    cls=_Group,
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"harness {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Compare disentanglement methods on vision models: interpretability, faithfulness, stability, efficiency."""


for _module in pkgutil.iter_modules(commands.__path__, f"{commands.__name__}."):
    importlib.import_module(_module.name)
for _name, (_command, _examples) in sorted(VERBS.items()):
    add_verb(app, _name, _command, _examples)


def _fail(message: str, code: int = 2) -> NoReturn:
    # Without emoji: rich would replace `:abc:` in a name such as `photos:abc:`.
    console = Console(stderr=True, emoji=False)
    console.print(
        f"[bold red]harness:[/bold red] {escape(short_lines(visible(message)))}", highlight=False, soft_wrap=True
    )
    raise SystemExit(code)


def main() -> None:
    """Run the ``harness`` command; errors that the user can fix print one message and exit with code 2."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal whose encoding lacks a character shows a question mark instead of a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    warn_in_a_sentence()
    try:
        app()
    except (UserError, StoreError) as error:
        _fail(str(error))
    except OSError as error:
        # Missing permissions, or a full or disconnected disk.
        if error.filename is None:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            _fail(f"{error.strerror}: free some disk space and run the command again; finished results are kept.")
        _fail(f"{str(error.filename)!r} cannot be used ({error.strerror}): give another path, or fix its permissions.")
    except SystemExit as end:
        # Typer prints nothing when it is interrupted.
        if end.code == 130:
            _fail("interrupted; finished results are kept. Run the same command again to continue.", 130)
        if location := line_in_plugin(end):
            _fail(f"a plugin called sys.exit{location}; correct it, or leave the plugin out.")
        raise
    except BaseException as error:
        location = line_in_plugin(error)
        if not location:
            raise
        _fail(f"a plugin failed{location}: {type_and_text(error)}. `harness check FILE` explains it.")
