"""Command line: collects the verbs of :mod:`harness.commands` and prints errors without a traceback."""

from __future__ import annotations

import errno
import importlib
import io
import pkgutil
import sys
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from harness import __version__, commands
from methods.errors import UserError
from results.errors import StoreError

EPILOG = """
[bold]First run[/bold] (minutes on two cores):  harness run --suite demo

[bold]Your backbone and images[/bold]:  harness run --suite demo --backbone timm:vit_base_patch14_dinov2
--checkpoint FILE --site blocks.11.mlp.fc2 --dataset folder:/path/to/class_folders

[bold]Your method[/bold]:  harness run --suite demo --plugin my_method.py

[bold]Results[/bold]:  harness leaderboard --store outputs/results.duckdb
"""

app = typer.Typer(
    name="harness",
    help="Compare disentanglement methods on vision models: interpretability, faithfulness, stability, efficiency.",
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


def _add_verbs() -> None:
    for module in sorted(pkgutil.iter_modules(commands.__path__), key=lambda info: info.name):
        verb = importlib.import_module(f"{commands.__name__}.{module.name}")
        if hasattr(verb, "register"):
            verb.register(app)


_add_verbs()


def _fail(message: str, code: int) -> NoReturn:
    # Without emoji codes: `photos:abc:` is a name.
    console = Console(stderr=True, emoji=False)
    console.print(f"[bold red]harness:[/bold red] {escape(message)}", highlight=False, soft_wrap=True)
    raise SystemExit(code)


def main() -> None:
    """Entry point of the ``harness`` command. An error that the user can fix is one sentence and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        # Characters that the terminal cannot show become question marks instead of raising.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app()
    except (UserError, StoreError) as error:
        _fail(str(error), 2)
    except OSError as error:
        # E.g. no permission, a full disk, or a lost mount.
        if error.filename is None:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            _fail(f"{error.strerror}: free some disk space; finished work is kept.", 2)
        _fail(f"{str(error.filename)!r} cannot be used ({error.strerror}): give another path, or get access to it.", 2)
    except SystemExit as end:
        # typer prints nothing on an interruption.
        if end.code == 130:
            _fail("interrupted; finished work is kept. Run the same command to continue.", 130)
        raise
