"""Replacement of the API key in texts that are stored or printed, also where the text encodes it."""

from __future__ import annotations

import base64
import re
from functools import lru_cache
from html.entities import html5

REPLACEMENT = "***"
#: Shorter keys are placeholders ("EMPTY", "x"), and their letters occur in ordinary text.
SHORTEST_REDACTED = 4
#: From this length on, a key is also found in another case, spread over lines, and in base64 or hexadecimal.
SHORTEST_ENCODED = 8

#: No form of a character, with what may follow it, is longer.
_LONGEST_CHARACTER = 256

# What may stand between two characters of a key that is split: white space, line breaks as JSON escapes, the quotation
# marks, commas and plus signs of a broken string, and invisible characters.
_GAP = (
    '(?:\\\\{1,16}(?:[nrt"]|u(?:00(?:0a|0d|ad)|200[b-f]|feff))'
    "|[\\s\"',+:\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\0]){0,8}"
)


class Redactor:
    """Replacement of one key in texts."""

    def __init__(self, pattern: str | None, flags: int, longest: int) -> None:
        self._pattern = None if pattern is None else re.compile(pattern, flags)
        self._longest = longest
        """bound on the characters of the key in any form"""

    def __call__(self, text: str) -> str:
        """Return the text with ``***`` for each occurrence of the key."""
        return text if self._pattern is None else self._pattern.sub(REPLACEMENT, text)

    def start(self, text: str, length: int) -> str:
        """Return the first ``length`` characters of a text, redacted.

        A key that only begins within them is replaced as a whole. What follows is left out even if the replacement has
        made the text shorter, since it could begin with a part of a key.
        """
        if self._pattern is None:
            return text[:length]
        parts, at = [], 0
        for match in self._pattern.finditer(text[: length + self._longest]):
            if match.start() >= length:
                break
            parts += [text[at : match.start()], REPLACEMENT]
            at = match.end()
        return "".join([*parts, text[at : max(at, length)]])


@lru_cache(maxsize=8)
def redactor(key: str) -> Redactor:
    """Return the function that replaces a key in a text by ``***``.

    It finds the key as it is; with characters written as JSON, HTML, URL or quoted-printable escapes (also escaped
    again), or in octal; and, if it has at least eight characters, in upper or lower case, split by white space, line
    breaks, quotation marks or invisible characters, in base64 (at every alignment, such as within ``Bearer KEY``), and
    in hexadecimal. It does not find a key that is encrypted, reversed, compressed or encoded twice in base64, or parts
    of one.
    """
    if len(key) < SHORTEST_REDACTED:
        return Redactor(None, 0, 0)
    if len(key) < SHORTEST_ENCODED:
        return Redactor("".join(map(_character, key)), 0, len(key) * _LONGEST_CHARACTER)
    forms = [_GAP.join(map(_character, key)), _hexadecimal(key), *_base64_forms(key)]
    return Redactor("|".join(forms), re.IGNORECASE, len(key) * _LONGEST_CHARACTER)


def _hexadecimal(key: str) -> str:
    digits = [f"{byte:02x}" for byte in key.encode()]
    return "(?:0x)?" + r"[\s,;:-]{0,4}(?:0x)?".join(_GAP.join(pair) for pair in digits)


def _character(character: str) -> str:
    """Return a pattern for a character in clear or as an escape of JSON, URLs, HTML or quoted-printable.

    Every repetition has a bound, so that a text of one repeated character takes no longer than another.
    """
    code = ord(character)
    hexadecimal = f"0{{0,6}}{code:x}"
    names = "|".join(sorted(_entity_names().get(character, ())))
    named = rf"|&(?:amp;){{0,3}}(?:{names});?" if names else ""
    # Letters and digits after a backslash would be another escape.
    clear = re.escape(character) if character.isalnum() else rf"\\{{0,4}}{re.escape(character)}"
    return (
        rf"(?:{clear}|\\{{1,16}}(?:[uU]\{{?(?i:{hexadecimal})\}}?|x(?i:{code:02x})|0{{0,2}}{code:o})"
        rf"|%(?:25){{0,3}}(?:u00)?(?i:{code:02x})|=(?i:{code:02x})"
        rf"|&(?:amp;){{0,3}}\#(?:0{{0,6}}{code}|[xX](?i:{hexadecimal}));?{named})"
    )


@lru_cache(maxsize=1)
def _entity_names() -> dict[str, set[str]]:
    """Return the names of HTML for each printable ASCII character that has some."""
    names: dict[str, set[str]] = {}
    for name, text in html5.items():
        if len(text) == 1 and text.isascii():
            names.setdefault(text, set()).add(name.rstrip(";"))
    return names


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
