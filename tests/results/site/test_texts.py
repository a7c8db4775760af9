"""Texts and file names of the site."""

from __future__ import annotations

import re

import pytest
from hostile_texts import hostile_texts

from results.site.names import cell_name, slug
from results.site.rendering import environment
from results.site.texts import bounded, setting


@pytest.mark.parametrize("text", hostile_texts(200))
def test_slugs_are_harmless(text: str) -> None:
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", slug(text))
    assert re.fullmatch(r"x[0-9a-f]{16}", cell_name(text))


def test_ids_of_cells_stay_as_they_are() -> None:
    assert cell_name("b899df4c31190114") == "b899df4c31190114"
    assert cell_name("B899DF4C31190114") != "B899DF4C31190114"


def test_texts_are_bounded() -> None:
    assert len(bounded("x" * 10**6)) <= 2000
    assert bounded("a" + "\u0301" * 500).count("\u0301") == 4
    assert bounded("a\u202e\n\tb") == "a\\u202e b"
    assert len(setting({str(number): {"a": [list(range(1000))]} for number in range(1000)})) <= 400


def test_every_value_of_a_template_is_bounded_and_escaped() -> None:
    template = environment().from_string('<p title="{{ text }}">{{ text }}</p>{{ nothing }}{{ number }}')
    made = template.render(text="<b>\"'&\u202e" + "x" * 5000, nothing=None, number=0.123456)
    assert "<b>" not in made and "\u202e" not in made and len(made) < 5000 and made.endswith("</p>0.12")
