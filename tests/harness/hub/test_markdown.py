"""Texts of a store in a card: whatever they are, they are shown and never obeyed."""

from __future__ import annotations

import json
import re
import tomllib

import pytest
import yaml
from hostile_texts import hostile_texts
from markdown_it import MarkdownIt
from markdown_it.token import Token

from harness.hub.markdown import block, code, quoted, shortened, table, text

TEXTS = hostile_texts(2000)
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
#: Inline tokens that hold no markup but that of this module.
HARMLESS = {"text", "code_inline", "text_special"}


def inline(markdown: str) -> list[Token]:
    tokens = PARSER.parse(markdown)
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"], markdown
    return list(tokens[1].children or [])


@pytest.mark.parametrize("function", [text, code])
def test_every_text_is_shown_as_it_is(function: object) -> None:
    for value in TEXTS:
        tokens = inline(f"a {function(value)}")  # type: ignore[operator]
        assert {token.type for token in tokens} <= HARMLESS, value
        shown = "".join(token.content for token in tokens).removeprefix("a ")
        # Inline code shows a run of spaces as they are, and strips one at both ends.
        assert shown.strip() == (shortened(value) or "-").strip(), value
        outside = "".join(token.content for token in tokens if token.type != "code_inline")
        assert not re.search(r"://|www\.|@|\$", outside), value


def test_tables_keep_their_cells() -> None:
    for value in [*TEXTS, "\\|", "a\\|<img src=x>|b", "\\\\|", "`|`", "|`|"]:
        tokens = PARSER.parse(table(["x", "y"], [(text(value), code(value))]))
        cells = [token for number, token in enumerate(tokens) if number and tokens[number - 1].type == "td_open"]
        assert len(cells) == 2, value
        for cell in cells:
            assert {token.type for token in cell.children or []} <= HARMLESS, value


def test_quoted_texts_are_the_same_in_yaml_toml_json_and_python() -> None:
    for value in TEXTS:
        line = shortened(value)
        assert yaml.safe_load(f"- {quoted(value)}") == [line], value
        assert tomllib.loads(f"x = {quoted(value)}") == {"x": line}
        assert json.loads(quoted(value)) == line
        assert eval(quoted(value)) == line
        tokens = PARSER.parse(block("toml", [f"x = {quoted(value)}"]))
        assert [token.type for token in tokens] == ["fence"]


def test_texts_are_bounded() -> None:
    for function in (text, code, quoted):
        assert len(function("x<" * 10**6)) < 700
