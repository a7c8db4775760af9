"""Protocols: each has a version of its own, and one that breaks is a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from plugins import clean_registries

from judges.panel import Panel, Wanted, make_panel, require_follows
from judges.panels.people import PeopleJudge
from judges.prompt import PROTOCOLS, STYLES, VERSION_PATTERN, Prompt, prompt_for, same_version
from methods.errors import UserError


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    with clean_registries():
        yield


def test_every_prompt_has_a_version_of_its_own() -> None:
    versions = [prompt_for(style, name).version for name in ("default", "paper", "people") for style in STYLES]
    assert len(set(versions)) == 6 and all(map(VERSION_PATTERN.fullmatch, versions))


@pytest.mark.parametrize("version", ["paper-1", "paper-1+outlined"])
def test_the_version_of_another_protocol_is_refused_whatever_the_style(version: str) -> None:
    PROTOCOLS.add("mine", lambda style: Prompt(version, "Which?"))
    assert same_version(version, "plain", "mine") == "paper"
    with pytest.raises(UserError, match=rf"'mine' and 'paper' have the same version, '{version.replace('+', '.')}'"):
        prompt_for("plain", "mine")
    # A plugin does not disable what is built in.
    assert prompt_for("plain", "paper").version == "paper-1"


@pytest.mark.parametrize(
    ("factory", "problem"),
    [
        (lambda style: "Which?", "must return a judges.prompt.Prompt"),
        (lambda style: Prompt("mine-1", "Which?", max_attempts=0), "at least one attempt"),
        (lambda style: Prompt("mine-1", "Which?", max_attempts="2"), "at least one attempt"),  # type: ignore[arg-type]
        (lambda style: Prompt("mine 1", "Which?"), "without spaces"),
        (lambda style: Prompt(None, "Which?"), "must be a text"),  # type: ignore[arg-type]
        (lambda style: Prompt("m" * 41, "Which?"), "1 to 40 characters"),
        (lambda style: 1 / 0, "'mine'.*ZeroDivisionError"),
    ],
)
def test_a_protocol_that_breaks_is_a_sentence_and_hinders_no_other(factory: Any, problem: str) -> None:
    PROTOCOLS.add("mine", factory)
    with pytest.raises(UserError, match=problem):
        prompt_for("plain", "mine")
    assert prompt_for("plain").version == "1"


def test_a_panel_with_a_protocol_of_its_own_follows_no_other() -> None:
    people = Panel("people", (PeopleJudge("anna", None, named=True),))
    require_follows(people, "people")
    with pytest.raises(UserError, match="'people' follows its own protocol, 'people', and not 'paper'; leave out"):
        require_follows(people, "paper")
    with pytest.raises(UserError, match="leave out --protocol"):
        require_follows(Panel("people", ()), "paper")
    require_follows(make_panel("proxy", Wanted("vit", ({"name": "colour_texture"},))), "paper")


def test_judges_who_answer_later_must_join_freely() -> None:
    class Later(PeopleJudge):
        kind = "later"
        joins_freely = False

    with pytest.raises(UserError, match="set joins_freely = True as well"):
        Panel("later", (Later("x", None, named=True),))
