"""Singular of English nouns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.steering.singular import singular

PAIRS = """
dogs dog, pandas panda, cameras camera, sofas sofa, vases vase, houses house, horses horse, roses rose, buses bus,
walruses walrus, octopuses octopus, glasses glass, dresses dress, boxes box, axes axe, brushes brush, benches bench,
waltzes waltz, prizes prize, sizes size, potatoes potato, heroes hero, pianos piano, shoes shoe, berries berry,
cookies cookie, movies movie, ties tie, fishermen fisherman, policewomen policewoman, women woman, men man,
knives knife, leaves leaf, wolves wolf, gloves glove, olives olive, waves wave, mice mouse, teeth tooth, children child,
people person, cacti cactus, lenses lens, canvases canvas, stripes stripe, trees tree, bees bee, toys toy, keys key
"""
SINGULARS = (
    "bus glass grass iris tennis cactus lens series species scissors jeans dress human ramen gas moss us is as dog cat "
    "house 猫 3d t-shirts"
)


@pytest.mark.parametrize(("plural", "expected"), [pair.split() for pair in PAIRS.split(",")])
def test_plurals(plural: str, expected: str) -> None:
    assert singular(plural) == expected


@pytest.mark.parametrize("word", SINGULARS.split())
def test_singulars_and_foreign_words_stay(word: str) -> None:
    assert singular(word) == word


@pytest.mark.parametrize("pair", PAIRS.split(","))
def test_the_singular_of_a_singular_is_itself(pair: str) -> None:
    assert singular(pair.split()[1]) == pair.split()[1]


@given(st.text())
def test_any_text_is_answered(text: str) -> None:
    assert isinstance(singular(text), str)
    assert bool(singular(text)) == bool(text)


def test_a_long_word_takes_no_longer_than_its_length() -> None:
    assert singular("s" * 100_000) == "s" * 100_000
    assert singular("ab" * 100_000 + "s") == "ab" * 100_000
