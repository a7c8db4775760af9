"""``harness app``: show a store in a browser."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import ComputeOptions, LayerOptions, PluginOption, ScaleOption, load_plugins, verb
from harness.commands.output import out
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.steering.worker import Worker


@verb(
    "harness app --store outputs/results.duckdb --port 8600 --no-browser",
    "harness app --steer --suite demo",
    name="app",
)
def show(
    choice: LayerOptions,
    compute: ComputeOptions,
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
    steer: Annotated[
        bool,
        typer.Option(
            "--steer", help="Load the network of --suite in a second process, so that the page Steer can change units."
        ),
    ] = False,
    scale: ScaleOption = None,
    plugin: PluginOption = None,
) -> None:
    """Show a store in a browser: Pareto front, leaderboard, methods, units with their images, judges and runs.

    The app only reads the store, also during a run; votes of people are files beside it. Press Ctrl-C to stop it. With
    --steer, give --suite, --dataset, --scale and --set the values of `harness run`; without it they are not used.
    """
    if importlib.util.find_spec("streamlit") is None:
        raise UserError("The app needs streamlit, which is not installed: pip install 'disentanglement-harness[app]'.")
    if images is not None and not images.is_dir():
        raise UserError(f"There is no folder {str(images)!r} for --images; give the folder of the image set.")
    _require_free(address, port)
    if not steer:
        _refuse_options_of_steering(choice, compute, scale=scale, plugin=plugin)
    environment = {**os.environ, "HARNESS_STORE": str(compute.store)}
    worker = _worker(choice, compute, scale, plugin) if steer else None
    environment |= worker.environment if worker else {}
    out(f"The app is at http://{address}:{port} (Ctrl-C ends it).")
    if images is not None:
        environment["HARNESS_IMAGES"] = str(images)
    if votes:
        environment["HARNESS_VOTES"] = "1"
    arguments = command(port, address, browser)
    if os.name == "posix":
        # Replaces this process, so that ending `harness app` also ends the server.
        sys.stdout.flush()
        os.execve(arguments[0], arguments, environment)
    try:
        code = subprocess.run(arguments, env=environment, check=False).returncode
    finally:
        if worker:
            worker.process.terminate()
    raise typer.Exit(code)


def _worker(choice: LayerOptions, compute: ComputeOptions, scale: str | None, plugin: list[Path] | None) -> Worker:
    """Start the worker of the page Steer; mistakes in the options are answered before."""
    from harness.steering.worker import start_worker
    from results.store import open_store

    load_plugins(plugin)
    open_store(compute.store).cells()
    choice.choose(scale=scale)
    suite = {name: str(value) if isinstance(value, Path) else value for name, value in choice.arguments().items()}
    return start_worker(
        {
            "store": str(compute.store),
            "cache": None if compute.cache is None else str(compute.cache),
            "device": compute.device,
            "plugins": [str(file) for file in plugin or ()],
            "suite": {**suite, "scale": scale},
        }
    )


def _refuse_options_of_steering(choice: LayerOptions, compute: ComputeOptions, **others: object) -> None:
    given = [
        f"--{'set' if field.name == 'setting' else field.name}"
        for options in (choice, compute)
        for field in dataclasses.fields(options)
        if field.name != "store" and getattr(options, field.name) != field.default
    ]
    given += [f"--{name}" for name, value in others.items() if value]
    if given:
        raise UserError(f"{', '.join(given)} cannot be used without --steer: add it, or leave the option out.")


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
