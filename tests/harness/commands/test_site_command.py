"""``harness site`` from the command line: its last line, its errors, and stores given by place or by option."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import harness
from flagged_store import make_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("command")
    make_store(folder / "results.duckdb")
    return folder


def test_the_last_line_says_where_it_is_and_how_large(folder: Path) -> None:
    done = harness("site", "results.duckdb", "public", cwd=folder)
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("public: ") and "MB" in last and "Open public/index.html" in last
    assert (folder / "public" / "index.html").is_file()


def test_without_a_store_it_is_that_of_the_option(folder: Path) -> None:
    done = harness("site", "public", "--store", "results.duckdb", "--title", "Ours", "--json", cwd=folder)
    written = json.loads(done.stdout)
    assert written["layers"] == 1 and written["size"] > 0 and written["path"] == "public"
    assert "<title>Ours</title>" in (folder / "public" / "index.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("missing.duckdb", "public"), "no results store"),
        (("results.duckdb", "."), "--force"),
        (("results.duckdb", "results.duckdb"), "a site is a folder"),
        (("results.duckdb", "public", "--images", "missing"), "no folder"),
        (("results.duckdb", "public", "--images", "public"), "--license"),
        (("results.duckdb", "results.duckdb", "public", "--prefer", "x"), None),
    ],
)
def test_a_wrong_request_is_one_sentence(folder: Path, arguments: tuple[str, ...], sentence: str | None) -> None:
    done = harness("site", *arguments, cwd=folder, code=None)
    # The same store twice is one store, of which none is to be preferred.
    assert done.returncode == (2 if sentence else 0), done.stderr
    assert sentence is None or (sentence in done.stderr and len(done.stderr.strip().splitlines()) == 1)
