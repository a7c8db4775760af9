"""Singular of English nouns, so that ``dogs`` and ``dog`` are the same word.

Both texts of a comparison pass the same rules, so a wrong singular does no harm unless it is another word.
"""

from __future__ import annotations

import re

_PAIRS = """
aches ache, aloes aloe, atlases atlas, axes axe, bikinis bikini, birdies birdie, bookshelves bookshelf,
brioches brioche, brownies brownie, buses bus, caches cache, cacti cactus, calves calf, canoes canoe, canvases canvas,
children child, collies collie, cookies cookie, dice die, does doe, dwarves dwarf, elves elf, emus emu, feet foot,
floes floe, foes foe, fungi fungus, fuses fuse, gases gas, geese goose, gnus gnu, halves half, headaches headache,
hoes hoe, hoodies hoodie, hooves hoof, horseshoes horseshoe, irises iris, kiwis kiwi, knives knife,
larvae larva, leaves leaf, lenses lens, lice louse, loaves loaf, magpies magpie, men man, menus menu, mice mouse,
moustaches moustache, movies movie, mustaches mustache, oases oasis, oboes oboe, oxen ox, people person, pies pie,
prairies prairie, quiches quiche, quizzes quiz, safaris safari, scarves scarf, selfies selfie, sheaves sheaf,
shelves shelf, shoes shoe, skis ski, smoothies smoothie, snowshoes snowshoe, taxis taxi, teeth tooth, thieves thief,
ties tie, tiptoes tiptoe, toes toe, trellises trellis, tsunamis tsunami, tutus tutu, wharves wharf, wives wife,
wolves wolf, zombies zombie, zucchinis zucchini
"""
_ALIKE = """
abdomen acumen alias always athletics atlas bias binoculars canvas christmas clothes gas gymnastics his its lens
mathematics mumps molasses news omen pancreas physics pliers plus pyjamas ramen scissors series shorts species specimen
jeans this trousers yes
"""
#: Plurals that no rule gives.
_IRREGULAR = dict(pair.split() for pair in _PAIRS.split(","))
#: Words that end like plurals and are not, or are the same in both numbers.
_UNCHANGED = frozenset(_ALIKE.split())
#: Endings of plurals and their singular; the first that fits is used.
_RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(.+)men", r"\1man"),  # fishermen, women
        (r"(.+(?:ss|us|is))", r"\1"),  # glass, cactus, iris
        (r"(.{2,})ies", r"\1y"),  # berries
        (r"(.+ss|.+sh|.+ch|.+x|.+tz|.+o)es", r"\1"),  # glasses, brushes, benches, boxes, waltzes, potatoes
        (r"(.+[^o]us)es", r"\1"),  # walruses, but houses
        (r"(.+)s", r"\1"),
    )
)


def singular(word: str) -> str:
    """Return the singular of an English noun in lower case; other words, and those of up to 3 letters, as they are."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 3 or word in _UNCHANGED or not (word.isascii() and word.isalpha()):
        return word
    for pattern, replacement in _RULES:
        if match := pattern.fullmatch(word):
            return match.expand(replacement)
    return word
