"""Every command of docs/plugins.md, in its order, in an empty folder."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from paths import ROOT
from plugins import clean_registries
from typer.testing import CliRunner

from harness.cli import app

PAGE = ROOT / "docs" / "plugins.md"

#: What `--suite demo` becomes where the demo itself would take minutes.
SMALL = """
name = "small"
[seeds]
tokens = [1, 2]
[data]
dataset = "folder:{folder}"
evaluation = 18
[probing]
tokens_per_image = 6
[evaluation]
top_images = 9
[[targets]]
backbone = "tiny_vit"
[[methods]]
name = "identity"
[[methods]]
name = "random_split"
config = {{ parts = 2 }}
"""


class Block(NamedTuple):
    """A fenced block of the page."""

    marker: str
    """the comment before it"""
    language: str
    text: str


def blocks() -> list[Block]:
    found = re.findall(r"(?:<!-- (.*?) -->\n)?```(\w*)\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    return [Block(*parts) for parts in found]


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    with clean_registries():
        yield


def follow(suite: str, *, verbs: tuple[str, ...] | None = None) -> list[str]:
    """Write the page's files and run its commands, or those with some verbs; the commands that were run."""
    done = []
    for block in blocks():
        if block.marker.startswith("file: "):
            Path(block.marker.removeprefix("file: ")).write_text(block.text)
        elif not block.language and not block.marker.startswith("not run"):
            for line in block.text.splitlines():
                words = [suite if word == "demo" else word for word in shlex.split(line)]
                assert words[0] == "harness", f"{line!r} is no command of this program: mark the block as not run"
                if verbs is not None and words[1] not in verbs:
                    continue
                found = CliRunner().invoke(app, words[1:])
                assert found.exit_code == 0, f"{line}\n{found.output}\n{found.exception!r}"
                assert "FAIL" not in found.output and "Not judged" not in found.output, found.output
                done.append(line)
    return done


def test_what_the_page_writes_checks_and_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = follow("demo", verbs=("new", "check", "list"))
    for kind in ("method", "metric", "judge", "backbone", "dataset"):
        assert f"harness new {kind} my_{kind}.py" in done and f"harness check my_{kind}.py" in done


@pytest.mark.slow
def test_every_command_of_the_page_works(tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(SMALL.format(folder=photo_folder))
    assert len(follow("small.toml")) > 20


@pytest.mark.slow
# Whole demo runs; their time is the machine's, and not what is tested.
@pytest.mark.timeout(1800)
def test_the_page_on_the_demo_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(follow("demo")) > 20


def test_what_is_not_run_says_why() -> None:
    left_out = [block for block in blocks() if block.marker and not block.marker.startswith("file: ")]
    assert left_out and all(block.marker.startswith("not run by the tests: ") for block in left_out)


def test_the_example_on_the_page_is_the_example() -> None:
    (announced,) = [block.text for block in blocks() if block.language == "toml"]
    assert announced in (PAGE.parents[1] / "examples" / "plugin" / "pyproject.toml").read_text()
    (code,) = [block.text for block in blocks() if block.language == "python"]
    assert len(code.splitlines()) <= 46
