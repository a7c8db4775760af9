"""Help texts of the verbs, and option groups."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from documents import VERBS
from typer.testing import CliRunner

from harness.cli import app
from harness.commands.options import add_verb

BRACKETED = re.compile(r"\[[\w./-]+\]")
CHECKING = ("check", "doctor", "properties", "validity", "verify")


def unescaped(text: str) -> str:
    return text.replace("\\[", "[")


@pytest.mark.parametrize("verb", VERBS)
def test_help_prints_all_bracketed_words(verb: str) -> None:
    """Rich would take them for markup and drop them."""
    command = VERBS[verb]
    sources = [
        command.help or "",
        command.epilog or "",
        *(getattr(item, "help", None) or "" for item in command.params),
    ]
    printed = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200"}).output
    for word in BRACKETED.findall(unescaped("\n".join(sources))):
        assert word in printed


def test_help_of_stability_names_the_section() -> None:
    assert "[stability]" in CliRunner().invoke(app, ["stability", "--help"]).output


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_has_a_help_text(verb: str) -> None:
    for item in VERBS[verb].params:
        text = getattr(item, "help", None)
        assert text and text.endswith((".", ")")), f"{verb} {item.name}: {text!r}"


@pytest.mark.parametrize("verb", CHECKING)
def test_verbs_that_check_say_what_they_check(verb: str) -> None:
    assert re.match(r"Check (that a plugin|this machine|the properties|which metrics|a store)\b", VERBS[verb].help)


@dataclass(frozen=True)
class Base:
    a: Annotated[int, typer.Option(help="A.")] = 1


@dataclass(frozen=True)
class Group(Base):
    b: Annotated[list[str] | None, typer.Option("--bee", help="B [x].")] = None


def test_an_option_group_becomes_options() -> None:
    calls: list[tuple[str, Group, bool]] = []

    def verb(
        name: Annotated[str, typer.Argument(help="Name.")],
        group: Group,
        flag: Annotated[bool, typer.Option("--flag", help="Flag.")] = False,
    ) -> None:
        """Do it, see [section]."""
        calls.append((name, group, flag))

    small = typer.Typer()
    add_verb(small, "verb", verb, ["harness verb [x]"])
    runner = CliRunner()
    assert runner.invoke(small, ["n"]).exit_code == 0
    assert runner.invoke(small, ["n", "--bee", "x", "--bee", "y", "--a", "2", "--flag"]).exit_code == 0
    assert calls == [("n", Group(), False), ("n", Group(2, ["x", "y"]), True)]
    assert runner.invoke(small, ["n", "--group", "x"]).exit_code == 2
