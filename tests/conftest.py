"""Shared fixtures: opt-in flags, a tiny backbone on disk-free random weights, and small images."""

from __future__ import annotations

import functools
import gc
import importlib
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer.main
import typer.testing
from hypothesis import settings
from PIL import Image

from results.atomic import partial_file
from results.store import connection, schema

# The same examples in every run: a failure can be repeated, and a run that passed passes again.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run tests marked slow")
    parser.addoption("--gpu", action="store_true", help="run tests marked gpu")
    parser.addoption("--browser", action="store_true", help="run tests marked browser")
    parser.addoption("--vllm", action="store_true", help="run tests marked vllm")


def pytest_configure(config: pytest.Config) -> None:
    """Register the tiny backbones, except in the process of xdist that only distributes tests: it needs no torch."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        importlib.import_module("tiny_backbones")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Long files at the end would leave the other processes of xdist without work.
    items.sort(key=lambda item: "run" not in item.keywords)
    for flag, reason in (
        ("slow", "slow: run with --slow"),
        ("gpu", "needs a GPU: run with --gpu"),
        ("browser", "needs a browser: run with --browser"),
        ("vllm", "needs the real vLLM: make test-vllm"),
    ):
        if not config.getoption(f"--{flag}"):
            for item in items:
                if flag in item.keywords:
                    item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish() -> None:
    """Leave the million objects of all imports and test items out of every garbage collection, which takes 0.5 s else.

    Each fit of a cell begins with a collection.
    """
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let the interpreter take them down in its order: extensions report what is left as leaks."""
    gc.unfreeze()


@pytest.fixture(autouse=True, scope="session")
def no_gap_between_writes() -> Iterator[None]:
    """Write without the gap that lets readers of other processes in: here, none waits. Child processes keep it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "WRITE_GAP_S", 0.0)
        yield


@pytest.fixture(autouse=True, scope="session")
def empty_stores_are_copied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Write each empty store as a copy of the first one, which DuckDB has made; child processes make theirs."""
    made: dict[str, bytes] = {}
    create = schema.create

    def copy_of_first(path: Path) -> None:
        sql = f"{schema.SCHEMA_VERSION}: {schema.schema_sql()}"
        if sql not in made:
            first = tmp_path_factory.mktemp("empty") / "first.duckdb"
            create(first)
            made[sql] = first.read_bytes()
        with partial_file(path, overwrite=False) as partial:
            partial.write_bytes(made[sql])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "create", copy_of_first)
        yield


@pytest.fixture(autouse=True, scope="session")
def one_parser() -> Iterator[None]:
    """Build the parser of the command line once, not at each command: Typer reads the types of all verbs for it."""
    with pytest.MonkeyPatch.context() as patch:
        once = functools.cache(typer.main.get_command)
        patch.setattr(typer.main, "get_command", once)
        patch.setattr(typer.testing, "_get_command", once)
        yield


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """Start the process-wide generators anew, so that a test without a generator of its own repeats its draws."""
    import torch

    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (code under test may draw from it)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of 3 x 16 small pictures whose classes differ in colour and stripes."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for label, name in enumerate(("blue", "green", "red")):
        (folder / name).mkdir()
        for number in range(16):
            pixels = generator.integers(0, 90, (40, 40, 3))
            pixels[..., 2 - label] += 120
            pixels[:: 2 + label] //= 2
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number:02d}.png")
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has, these tests see none: the hub's name does not resolve and torch.hub cannot download."""
    monkeypatch.setattr("harness.backbones.sources.hub._resolves", lambda host: False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
