"""Alternatives to a name that does not exist, for the end of an error message."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from results.visible_text import names_text

#: Most characters of a list of names; of a longer one, the first names are printed.
_LONGEST_LIST = 130


def alternatives(name: str, names: Sequence[str], *, similar: Sequence[str] | None = None) -> str:
    """Return ``Did you mean x? Available: x, y.`` for an unknown name; a long list is cut off.

    Args:
        names: the names that are listed.
        similar: the names among which similar ones are looked for; default: those that are listed.
    """
    spelled = {each.casefold(): each for each in (names if similar is None else similar)}
    near = difflib.get_close_matches(name.casefold()[:200], list(spelled), n=2, cutoff=0.5)
    meant = f"Did you mean {' or '.join(names_text([spelled[each]]) for each in near)}? " if near else ""
    return f"{meant}Available: {_listed(names)}."


def _listed(names: Sequence[str]) -> str:
    texts = [names_text([name]) for name in names]
    count, length = 0, 0
    for text in texts:
        length += len(text) + 2
        if count and length > _LONGEST_LIST:
            break
        count += 1
    more = [f"and {len(texts) - count} more"] if len(texts) > count else []
    return ", ".join([*texts[:count], *more]) or "none"
