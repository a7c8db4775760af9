"""``harness app``: show a store in a browser."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import DEFAULT_STORE, StoreOption, verb
from harness.commands.output import out
from harness.errors import UserError


@verb("harness app --store outputs/results.duckdb --port 8600 --no-browser", name="app")
def show(
    store: StoreOption = DEFAULT_STORE,
    images: Annotated[
        Path | None,
        typer.Option(envvar="HARNESS_IMAGES", help="Folder of the evaluation images; default: the included ones."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port that the app listens on.", min=1, max=65535)] = 8501,
    address: Annotated[
        str, typer.Option(help="Address that the app listens on; 0.0.0.0 lets other machines in, without a password.")
    ] = "localhost",
    votes: Annotated[
        bool,
        typer.Option(
            "--votes", help="Take votes of people on any --address; default: only if no other machine can open the app."
        ),
    ] = False,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window.")] = True,
) -> None:
    """Show a store in a browser: Pareto front, leaderboard, methods, units with their images, judges and runs.

    The app only reads the store, also during a run; votes of people are files beside it. Press Ctrl-C to stop it.
    """
    if importlib.util.find_spec("streamlit") is None:
        raise UserError("The app needs streamlit, which is not installed: pip install 'disentanglement-harness[app]'.")
    if images is not None and not images.is_dir():
        raise UserError(f"There is no folder {str(images)!r} for --images; give the folder of the image set.")
    _require_free(address, port)
    out(f"The app is at http://{address}:{port} (Ctrl-C ends it).")
    environment = {**os.environ, "HARNESS_STORE": str(store)}
    if images is not None:
        environment["HARNESS_IMAGES"] = str(images)
    if votes:
        environment["HARNESS_VOTES"] = "1"
    arguments = command(port, address, browser)
    if os.name == "posix":
        # Replaces this process, so that ending `harness app` also ends the server.
        sys.stdout.flush()
        os.execve(arguments[0], arguments, environment)
    raise typer.Exit(subprocess.run(arguments, env=environment, check=False).returncode)


def command(port: int, address: str, browser: bool) -> list[str]:
    """Return the command that starts the app; environment variables name the store and the images."""
    options = {
        "server.port": str(port),
        "server.address": address,
        "server.headless": str(not browser).lower(),
        "server.fileWatcherType": "none",
        "server.showEmailPrompt": "false",
        "browser.gatherUsageStats": "false",
        # The app does not use expressions on lines of their own as output, and rewriting them takes time.
        "runner.magicEnabled": "false",
        "client.toolbarMode": "minimal",
        # Streamlit's red looks like an error; this blue is from the palette of the figures. Set per theme, because a
        # colour for both would keep the page from following the theme of the system.
        "theme.light.primaryColor": "#0072B2",
        "theme.dark.primaryColor": "#56B4E9",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "results.app.serve", *flags]


def _require_free(address: str, port: int) -> None:
    """Raise UserError if the port cannot be used: streamlit would print a traceback, or take another port."""
    try:
        family, _, _, _, socket_address = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(socket_address)
    except OSError as error:
        raise UserError(
            f"The app cannot listen at {address}:{port} ({error.strerror or error}); "
            f"use another port: harness app --port {port + 1 if port < 65535 else 8501}."
        ) from error
