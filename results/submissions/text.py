"""The text of a submission: JSON in one form, so that a change of one value is a change of one line.

Keys are sorted. A short object is one line, so that the scores of a cell read like a table, and so is a list of
numbers. Characters that a reader cannot see are escaped. A file must be in this form to the letter (`harness verify
--strict`), which also excludes a key twice, or numbers that readers understand differently.
"""

from __future__ import annotations

import json
import math
from typing import Any

from results.errors import StoreError
from results.visible_text import visible

#: Longest line of an object that is written on one line.
WIDTH = 200
#: Deepest nesting of a document.
MAX_DEPTH = 30
#: Largest number of digits of a whole number: the columns of a store have 64 bits.
_MAX_DIGITS = 19


def render(document: Any) -> str:
    """Return a document as text: sorted keys, indented, one object per line if it is short. It ends with a line end.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    text = _render(document, 0) + "\n"
    return text if text.isascii() else "".join(map(_escaped, text))


def _render(value: Any, depth: int) -> str:
    line = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
    is_flat = isinstance(value, list) and not any(isinstance(item, (dict, list)) for item in value)
    if not isinstance(value, (dict, list)) or is_flat or (depth and len(line) + depth <= WIDTH):
        return line
    margin, end = " " * (depth + 1), " " * depth
    if isinstance(value, list):
        return "[\n" + ",\n".join(margin + _render(item, depth + 1) for item in value) + f"\n{end}]"
    if not value:
        return line
    entries = [
        f"{margin}{json.dumps(key, ensure_ascii=False)}: {_render(value[key], depth + 1)}" for key in sorted(value)
    ]
    return "{\n" + ",\n".join(entries) + f"\n{end}}}"


def _escaped(char: str) -> str:
    return char if char.isascii() or visible(char) == char else json.dumps(char)[1:-1]


def parse(content: bytes) -> dict[str, Any]:
    """Return the document of a file. It is not checked whether it is in the form of `render`.

    Raises:
        StoreError: it is not UTF-8, not JSON, not an object, nested too deeply, or has a number of too many digits. The
            message is the end of a sentence that starts with the file.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StoreError("is not UTF-8 text") from error
    try:
        value = json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_no_constant)
    except RecursionError as error:
        raise StoreError(f"is nested more than {MAX_DEPTH} levels deep") from error
    except ValueError as error:
        raise StoreError(f"is not valid JSON ({str(error)[:120]})") from error
    if not isinstance(value, dict):
        raise StoreError("is not a JSON object")
    if _is_deep(value):
        raise StoreError(f"is nested more than {MAX_DEPTH} levels deep")
    return value


def _whole(digits: str) -> int:
    if len(digits) > _MAX_DIGITS + 1:
        raise ValueError(f"a whole number has {len(digits)} digits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:40]} is too large")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON; write it as text")


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True
