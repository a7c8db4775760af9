"""The app's pages under streamlit's own test runner: how they are opened and what is read from them."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from app_store import make_images, make_store
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

import results.app
from results import Store

MAIN = Path(results.app.__file__).with_name("main.py")
PAGES = ("front", "leaderboard", "method", "units", "compare", "steer", "judges", "runs")

# Each AppTest reads the metadata of every installed package in search of components, which takes longer than a page.
manifest_scanner.scan_component_manifests = functools.cache(manifest_scanner.scan_component_manifests)


def store_in(folder: Path) -> Store:
    """A store of everything, with its pictures beside it."""
    make_images(folder / "pictures")
    return make_store(folder / "results.duckdb")


def show(store: Store, patch: pytest.MonkeyPatch) -> Store:
    """Let the app show a store."""
    patch.setenv("HARNESS_STORE", str(store.path))
    patch.setenv("HARNESS_IMAGES", str(store.path.parent / "pictures"))
    patch.setattr(sys, "argv", ["streamlit"])
    return store


def opened(page: str, **parameters: str) -> AppTest:
    """The app on one page, as an address of it is opened."""
    test = AppTest.from_file(str(MAIN), default_timeout=30)
    if page != "front":
        test.switch_page(f"screens/{page}.py")
    for name, value in parameters.items():
        test.query_params[name] = value
    return test.run()


def followed(page: str) -> AppTest:
    """The app on one page that is reached through the front; from there the front is the hidden page ``/front``."""
    return opened("front").switch_page(f"screens/{page}.py").run()


def texts(test: AppTest) -> str:
    """Everything that is written on a page."""
    kinds = ("title", "header", "subheader", "markdown", "caption", "text", "info", "warning", "error", "code")
    written = [str(element.value) for kind in kinds for element in test.get(kind)]
    for frame in [*test.get("dataframe"), *test.get("table")]:
        written.append(frame.value.to_csv())
    return "\n".join([*written, *(text for table in board_tables(test) for text in _strings(table))])


def board_tables(test: AppTest) -> list[dict[str, Any]]:
    """The tables of boards on a page, as they are sent to the browser."""
    return [json.loads(element.proto.json) for element in test.get("bidi_component")]


def board_rows(table: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of a table by their titles, each with its section and its cells by the titles of the columns."""
    titles = [header["title"] for header in table["headers"]]
    return {
        row["title"]: {
            **row,
            "section": section["heading"].split(":")[0],
            "cells": dict(zip(titles, row["cells"], strict=True)),
        }
        for section in table["sections"]
        for row in section["rows"]
    }


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def box(test: AppTest, label: str) -> Any:
    """The select box with this label."""
    return next(element for element in test.selectbox if element.label == label)


def require_sound(test: AppTest) -> None:
    assert [element.message for element in test.exception] == []
    assert [element.value for element in test.error] == []
