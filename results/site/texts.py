"""Texts of a store on a page: on one line, of bounded length, and with nothing that controls the display.

Escaping is the template engine's task (`rendering`): these functions return plain text.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from results.visible_text import one_line

#: Largest number of letters of a text on a page, and of a name in a table or figure.
MOST_TEXT, MOST_NAME = 2000, 80
#: Largest number of accents on one letter: hundreds of them cover the lines above.
_MOST_ACCENTS = 4


def bounded(text: object, most: int = MOST_TEXT) -> str:
    """Return a text on one line with control characters escaped, shortened to `most` characters."""
    line = one_line(str(text)[: 4 * MOST_TEXT])
    if len(line) > most:
        line = line[: most - 1].rstrip() + "…"
    return line if line.isascii() else _few_accents(line)


def name(text: object) -> str:
    """Return a text as a name of at most `MOST_NAME` characters."""
    return bounded(text, MOST_NAME)


def _few_accents(text: str) -> str:
    groups = itertools.groupby(text, key=lambda char: bool(unicodedata.combining(char)))
    return "".join("".join(itertools.islice(chars, _MOST_ACCENTS) if accents else chars) for accents, chars in groups)


def day(moment: datetime | None) -> str:
    """Return the date of a moment; "" if it was not recorded."""
    return "" if moment is None else f"{moment:%Y-%m-%d}"


def setting(value: Any, depth: int = 0) -> str:
    """Return a value of a configuration in few characters."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if depth < 3 and isinstance(value, Mapping):
        items = itertools.islice(value.items(), 30)
        return (
            bounded(", ".join(f"{bounded(key, 60)}={setting(item, depth + 1)}" for key, item in items), 400) or "none"
        )
    if depth < 3 and isinstance(value, (list, tuple)):
        return bounded(", ".join(setting(item, depth + 1) for item in value[:30]), 400) or "none"
    return bounded(value, 200)
