"""Fixtures of the browser tests: one server and one browser per file, a fresh visit per test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from app_store import make_images, make_store


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the app on a store made by hand."""
    from browser import app_server

    folder = tmp_path_factory.mktemp("browser")
    pictures = make_images(folder / "pictures")
    with app_server(make_store(folder / "results.duckdb").path, pictures, folder) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from browser import chromium

    with chromium() as opened:
        yield opened


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Any]:
    from browser import visiting

    with visiting(browser, address) as fresh:
        yield fresh
