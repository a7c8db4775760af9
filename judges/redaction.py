"""Replacement of the API key in texts that are stored or printed, also where the text encodes it."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from functools import lru_cache

REPLACEMENT = "***"
#: Shorter keys are placeholders ("EMPTY", "x"), and their letters occur in ordinary text.
SHORTEST_REDACTED = 4
#: From this length on, a key is also found in another case, spread over lines, and in base64 or hexadecimal.
SHORTEST_ENCODED = 8

# What may stand between two characters of a key that is split: white space, line breaks as JSON escapes, the quotation
# marks, commas and plus signs of a broken string, and invisible characters.
_GAP = '(?:\\\\{1,4}[nrt"]|[\\s"\',+:\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\0]){0,8}'


@lru_cache(maxsize=8)
def redactor(key: str) -> Callable[[str], str]:
    """Return a function that replaces a key in a text by ``***``.

    It finds the key as it is; with characters written as JSON, HTML, URL or quoted-printable escapes (also escaped
    again); and, if it has at least eight characters, in upper or lower case, split by white space, line breaks,
    quotation marks or invisible characters, in base64 (at every alignment, such as within ``Bearer KEY``), and in
    hexadecimal. It does not find an encrypted, reversed or compressed key, or parts of one.
    """
    if len(key) < SHORTEST_REDACTED:
        return lambda text: text
    if len(key) < SHORTEST_ENCODED:
        return _replacing("".join(map(_character, key)), 0)
    forms = [_GAP.join(map(_character, key)), _GAP.join(key.encode().hex()), *_base64_forms(key)]
    return _replacing("|".join(forms), re.IGNORECASE)


def _replacing(pattern: str, flags: int) -> Callable[[str], str]:
    compiled = re.compile(pattern, flags)
    return lambda text: compiled.sub(REPLACEMENT, text)


def _character(character: str) -> str:
    """Return a pattern for a character in clear or as an escape of JSON, URLs, HTML or quoted-printable.

    Every repetition has a bound, so that a text of one repeated character takes no longer than another.
    """
    code = ord(character)
    hexadecimal = f"0{{0,6}}{code:x}"
    # Letters and digits after a backslash would be another escape.
    clear = re.escape(character) if character.isalnum() else rf"\\{{0,4}}{re.escape(character)}"
    return (
        rf"(?:{clear}|\\{{1,4}}[uU]\{{?(?i:{hexadecimal})\}}?|\\{{1,4}}x(?i:{code:02x})"
        rf"|%(?:25){{0,3}}(?i:{code:02x})|=(?i:{code:02x})"
        rf"|&(?:amp;){{0,3}}\#(?:0{{0,6}}{code}|[xX](?i:{hexadecimal}));?)"
    )


def _base64_forms(key: str) -> list[str]:
    """Return patterns for the key in base64, one for each number of bytes (modulo 3) before it."""
    forms = []
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + key.encode()).decode("ascii")
        # Characters at both ends depend on the neighbours of the key as well.
        first, end = -(-offset * 8 // 6), (offset + len(key.encode())) * 8 // 6
        characters = [{"+": "[+-]", "/": r"(?:\\{0,4}/|_)"}.get(letter, letter) for letter in encoded[first:end]]
        forms.append(r"[A-Za-z0-9+/_-]{0,4}" + _GAP.join(characters) + r"[A-Za-z0-9+/_=-]{0,4}")
    return forms
