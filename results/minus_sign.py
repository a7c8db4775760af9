"""Minus signs of numbers: U+2212 on pages and in figures; the ASCII hyphen stays in the terminal and in files."""

from __future__ import annotations

import re

MINUS = "\N{MINUS SIGN}"
# At the start of a number, or of its exponent; not in a name such as "ViT-S/14", a range or a hash.
_HYPHEN = re.compile(r"(?<![\w.-])-(?=\.?\d)|(?<=\d[eE])-(?=\d+(?!\w))")


def with_minus(text: str) -> str:
    """Return `text` with the hyphens that stand for the minus of a number replaced: "-0.4 [-2.8, 1.7]"."""
    return _HYPHEN.sub(MINUS, text)
