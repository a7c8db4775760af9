"""Content of a Markdown page: commands, code, links, tables and code spans, each with its line."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import typer
from paths import ROOT

from harness.cli import app

try:  # typer brings its own copy of click
    from typer._click import exceptions
except ImportError:
    from click import exceptions  # type: ignore[no-redef]


#: Before a block (or at the end of its opening line) whose commands need what a test has not: a GPU, judges, ImageNet.
MARK = re.compile(r"not run here:\s*(\S.*?)\s*(?:-->)?\s*$")


class Block(NamedTuple):
    page: Path
    line: int
    language: str
    text: str
    mark: str | None
    """what it needs that is not here"""


class Command(NamedTuple):
    page: Path
    line: int
    words: tuple[str, ...]
    """without ``harness``"""
    mark: str | None
    inline: bool

    @property
    def verb(self) -> str:
        return self.words[0]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}: harness {' '.join(self.words)}"


def pages() -> list[Path]:
    """Every page a reader is sent to."""
    found = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    return [*sorted(found), ROOT / "results" / "published" / "README.md"]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").split("\n")
    start: int | None = None
    language, mark = "", None
    for number, line in enumerate(lines):
        fence = re.match(r"\s*```\s*(\S*)(.*)$", line)
        if not fence:
            continue
        if start is None:
            start, language = number, fence[1]
            before = next((text for text in reversed(lines[:number]) if text.strip()), "")
            given = MARK.search(fence[2]) or (MARK.search(before) if before.lstrip().startswith("<!--") else None)
            mark = given[1] if given else None
        else:
            found.append(Block(page, start + 1, language, "\n".join(lines[start + 1 : number]), mark))
            start = None
    assert start is None, f"{page.name}, line {(start or 0) + 1}: the block is never closed"
    return found


def prose(page: Path) -> list[tuple[int, str]]:
    """The lines outside fenced blocks, with their numbers."""
    inside, found = False, []
    for number, line in enumerate(page.read_text(encoding="utf-8").split("\n"), 1):
        if re.match(r"\s*```", line):
            inside = not inside
        elif not inside:
            found.append((number, line))
    return found


def spans(page: Path) -> list[tuple[int, str]]:
    """The code spans of the prose; one may be broken over two lines."""
    lines = prose(page)
    text = "\n".join(line for _, line in lines)
    return [
        (lines[text.count("\n", 0, found.start())][0], re.sub(r"\s+", " ", found[1]).replace("\\|", "|"))
        for found in re.finditer(r"(?<!`)`([^`\n]*(?:\n(?!\s*\n)[^`\n]*)?)`(?!`)", text)
    ]


SHELL = ("", "sh", "bash", "shell", "console", "text")


def shell_lines(block: Block) -> list[tuple[int, list[str]]]:
    """Commands of a shell block, each as its words; continued lines are joined, comments and prompts left out."""
    found: list[tuple[int, list[str]]] = []
    pending, at = "", 0
    for offset, line in enumerate(block.text.split("\n"), 1):
        at = at if pending else block.line + offset
        pending += line.removeprefix("$ ").rstrip()
        if pending.endswith("\\"):
            pending = pending[:-1]
            continue
        for part in re.split(r"\s(?:&&|\|\||[|;])\s", pending):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:
                words = []  # output, or half of a here-document
            while words and re.match(r"[A-Z_]+=", words[0]):
                words = words[1:]
            # Where the output goes, and that it goes on in the background, is the shell's.
            end = [number for number, word in enumerate(words) if re.match(r"(&|\d?>)", word)]
            words = words[: end[0]] if end else words
            if words:
                found.append((at, words))
        pending = ""
    return found


def commands() -> list[Command]:
    """Every ``harness`` command of every page, in blocks and in code spans."""
    found: list[Command] = []
    for page in pages():
        for block in blocks(page):
            for line, words in shell_lines(block) if block.language in SHELL else []:
                # srun, uv run and others may stand before.
                names = [number for number, word in enumerate(words) if Path(word).name == "harness"]
                if names and len(words) > names[0] + 1:
                    found.append(Command(page, line, tuple(words[names[0] + 1 :]), block.mark, False))
        for line, span in spans(page):
            if re.match(r"harness [a-z-]", span):
                found.append(Command(page, line, tuple(shlex.split(span)[1:]), None, True))
    return found


COMMANDS = commands()


GROUP = typer.main.get_command(app)


VERBS: dict[str, Any] = GROUP.commands  # type: ignore[attr-defined]


#: Words that a reader replaces by their own, and what the reader has just made.
PLACEHOLDER = re.compile(
    r"^my_\w+$|(?:^|[:=@/<.])(?:[A-Z][A-Z_]{2,}\d?|[A-Z])(?:$|[@:/>.=,])|\.\.\.|…|/path/|^[ABN]$|\$[A-Z{(]"
)


def parsed(command: Command) -> dict[str, Any]:
    """The options of a command, through the real parser.

    Raises:
        exceptions.UsageError: for a verb or flag that does not exist, or a value that is refused.
    """
    if command.verb.startswith("-"):
        return {}
    if command.verb not in VERBS:
        raise exceptions.UsageError(f"there is no verb {command.verb!r}")
    # Arguments that a code span leaves out are no mistake: `harness check` is the verb's name.
    try:
        context = VERBS[command.verb].make_context(command.verb, list(command.words[1:]))
    except typer.Exit:
        return {}
    except exceptions.MissingParameter:
        if command.inline:
            return {}
        raise
    return dict(context.params)
