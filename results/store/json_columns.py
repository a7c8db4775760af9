"""JSON columns of a store: decoded to the shape that readers rely on, whatever the file holds.

A store may come from anyone. DuckDB ensures that a JSON column holds JSON, and nothing more: an object may be a list,
a count may be a text, and a text may be nested 100,000 levels deep. Each column has a shape here. Content of another
shape becomes empty, so that no reader needs to test it, and ``harness verify`` names it (`unfit`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from results.store.text_limits import MAX_JSON

#: A shape is a type, a list with the shape of its items, or a mapping: key -> shape of its value. Keys that it does not
#: name may hold anything.
Shape = Any

_JUDGE = {"judge": str, **dict.fromkeys(("n", "n_controls", "n_first", "n_swaps", "invalid"), float)}
_RATES = ("agreement", "control_a", "first_invalid_rate", "invalid_rate", "position_bias", "retried_rate")
_COUNT_LISTS = ("atoms", "left_out", "silent", "unmatched", "zero")
_NUMBERS_OF_DETAILS = (
    *("chance", "backbone_latency_ms", "backbone_mb", "backbone", "ms_score", "ms_score_null", "identical_pairs"),
    *("optimizer_steps", "gradient_passes", "changed_leaves", "label_reads", "largest_logit", "tested"),
    *("median_effect", "smallest_effect", "adjusted", "n_units", "largest_gap"),
)
_FLAGS_OF_DETAILS = ("alone", "compiled", "virtual")
SHAPES: Mapping[str, Shape] = {
    "config": {},
    "identity": {
        "evaluation": {"preprocessing": {"size": float, "resize": float, "fit": str}},
        "metrics": {},
        "method": {"name": str, "config": {}},
    },
    "claims": {"family": str, **dict.fromkeys(("lossless", "virtual", "training_free"), bool), "control_for": [str]},
    "params": {},
    "versions": {},
    "environment": {},
    "settings": {"version": int},
    "result": {},
    "details": {
        **dict.fromkeys(_NUMBERS_OF_DETAILS, float),
        **dict.fromkeys(_FLAGS_OF_DETAILS, bool),
        **{name: [float] for name in _COUNT_LISTS},
        **dict.fromkeys(("matching", "on"), str),
        **dict.fromkeys(("pairs", "without_group", "interval"), list),
    },
    "notes": [str],
    "judges": [str],
    "cell_ids": [str],
    "health": [{**_JUDGE, **dict.fromkeys((*_RATES, "swap_consistency"), float)}],
    "pairwise": [{"method": str, "opponent": str, **dict.fromkeys(("wins", "n", "ties"), float)}],
}
#: Deepest nesting that is decoded. Deeper content, and texts of more than `MAX_JSON` characters, become empty.
MAX_DEPTH = 50
#: Columns that are printed as a whole, and their largest number of characters.
_SHORT = dict.fromkeys(("config", "params", "claims", "settings", "environment", "versions"), 100_000)
#: Largest number of characters of a text in a shape.
_MAX_STRING = 20_000
#: Whole numbers of more digits become floats, as in most JSON readers: Python's own have no bound.
_MAX_DIGITS = 18
#: As `canonical` stores them.
_NOT_FINITE = ("NaN", "Infinity", "-Infinity")


def decode(column: str, text: Any) -> Any:
    """Return the content of a JSON column in its shape; None for NULL, and empty if the content has another shape."""
    if text is None:
        return None
    return fitted(_parsed(column, text), SHAPES[column])[0]


def unfit(column: str, text: Any) -> bool:
    """Return whether the content of a JSON column does not have its shape."""
    return text is not None and not fitted(_parsed(column, text), SHAPES[column])[1]


def fitted(value: Any, shape: Shape) -> tuple[Any, bool]:
    """Return a value changed to a shape, and whether it had that shape.

    Items of a list and entries of a mapping that do not fit are left out. None is allowed in a mapping.
    """
    if isinstance(shape, Mapping):
        if not isinstance(value, Mapping):
            return {}, False
        parts = {key: fitted(value[key], inner) for key, inner in shape.items() if value.get(key) is not None}
        changed = {key: part for key, (part, _) in parts.items() if part is not value[key]}
        unfit_keys = {key for key, (part, fits) in parts.items() if not fits and part is None}
        if not changed:
            return value, True
        kept = {key: item for key, item in {**value, **changed}.items() if key not in unfit_keys}
        return kept, all(fits for _, fits in parts.values())
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [], False
        items = [fitted(item, shape[0]) for item in value]
        return [item for item, fits in items if fits or item not in (None, {}, [])], all(fits for _, fits in items)
    if shape is float and isinstance(value, str) and value in _NOT_FINITE:
        return None, True
    fits = _is(value, shape)
    return (value if fits else None), fits


def _is(value: Any, kind: type) -> bool:
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is str:
        return isinstance(value, str) and len(value) <= _MAX_STRING
    return isinstance(value, kind)


def _parsed(column: str, text: Any) -> Any:
    """Return JSON content; a value that has no shape if it is no JSON, too long or too deep."""
    if not isinstance(text, str) or len(text) > _SHORT.get(column, MAX_JSON):
        return _NOTHING
    try:
        value = json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError):
        return _NOTHING
    # Counting is much faster than walking, and nearly all content is flat.
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deep(value):
        return _NOTHING
    return value


_NOTHING = object()


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for item in level
            if isinstance(item, (dict, list))
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return bool(level)
