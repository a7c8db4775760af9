"""Texts of a store on a page: on one line, of bounded length, and with nothing that controls the display.

Escaping is the template engine's task (`rendering`): these functions return plain text.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from results.visible_text import bounded

#: Largest number of letters of a name in a table or figure.
MOST_NAME = 80


def name(text: object) -> str:
    """Return a text as a name of at most `MOST_NAME` characters."""
    return bounded(text, MOST_NAME)


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
