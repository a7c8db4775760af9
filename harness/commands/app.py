"""``harness app``: look at a store in a browser."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import DEFAULT_STORE, StoreOption, out
from harness.errors import UserError


def register(app: typer.Typer) -> None:
    app.command("app", epilog="Example: harness app --store outputs/results.duckdb --port 8600 --no-browser")(show)


def show(
    store: StoreOption = DEFAULT_STORE,
    images: Annotated[
        Path | None,
        typer.Option(envvar="HARNESS_IMAGES", help="Folder of the evaluation images; the shipped ones are found."),
    ] = None,
    port: Annotated[int, typer.Option(help="Where the app listens.", min=1, max=65535)] = 8501,
    address: Annotated[
        str, typer.Option(help="0.0.0.0 lets other machines in; the app has no password.")
    ] = "localhost",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window.")] = True,
) -> None:
    """Look at a store in a browser: Pareto front, leaderboard, methods, units with their images, judges, runs.

    The app only reads, also while a run writes. End it with Ctrl-C.
    """
    if importlib.util.find_spec("streamlit") is None:
        raise UserError(
            "The app needs streamlit, which this environment lacks: pip install 'disentanglement-harness[app]'."
        )
    if images is not None and not images.is_dir():
        raise UserError(f"There is no folder {str(images)!r} for --images; name the folder that the image set lies in.")
    _require_free(address, port)
    out(f"The app is at http://{address}:{port} (Ctrl-C ends it).")
    environment = {**os.environ, "HARNESS_STORE": str(store)}
    if images is not None:
        environment["HARNESS_IMAGES"] = str(images)
    words = command(port, address, browser)
    if os.name == "posix":
        # In this process's place: whoever ends `harness app` ends the server, and none is left behind.
        sys.stdout.flush()
        os.execve(words[0], words, environment)
    raise typer.Exit(subprocess.run(words, env=environment, check=False).returncode)


def command(port: int, address: str, browser: bool) -> list[str]:
    """The command that starts the app; the store and the images are named by the environment."""
    options = {
        "server.port": str(port),
        "server.address": address,
        "server.headless": str(not browser).lower(),
        "server.fileWatcherType": "none",
        "server.showEmailPrompt": "false",
        "browser.gatherUsageStats": "false",
        # Nothing in the app is shown by standing alone on a line, and looking for it takes time.
        "runner.magicEnabled": "false",
        "client.toolbarMode": "minimal",
        # Streamlit's own red would read as an error; this blue is of the palette of the figures.
        # (Light and dark apart: one colour for both would keep the page from following the system's.)
        "theme.light.primaryColor": "#0072B2",
        "theme.dark.primaryColor": "#56B4E9",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "results.app.serve", *flags]


def _require_free(address: str, port: int) -> None:
    """Raises UserError where nothing can listen: streamlit would say it in a traceback, or take another port."""
    try:
        family, _, _, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise UserError(
            f"The app cannot listen at {address}:{port} ({error.strerror or error}); "
            f"take another port: harness app --port {port + 1 if port < 65535 else 8501}."
        ) from error
