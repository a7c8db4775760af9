"""Texts of the app, and escaping that keeps data from being interpreted as Markdown or HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from results.boards.board import Column
from results.boards.lead_columns import column_name, metric_name, unit_text
from results.minus_sign import with_minus
from results.visible_text import one_line, visible

JOINER = "\N{WORD JOINER}"
_SIGN = re.compile(r"(?<!\S)(?=(<->|->|<-|--|>=|<=|~=)(?!\S))")
_SHORTCODE = re.compile(r":(?=[\w+/-]+:)")
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
DIRECTIONS = {"higher": "higher is better ↑", "lower": "lower is better ↓", "none": "no direction"}
_ACROSS = str.maketrans("↑↓", "→←")


def plain(text: object) -> str:
    """Return `text` as Markdown that displays it unchanged: every punctuation mark escaped, on one line.

    Streamlit turns ``--``, ``->`` and the like into other signs, and ``:name:`` into a picture, even if they are
    escaped. A word joiner, which has no width, prevents these matches.
    """
    return _PUNCTUATION.sub(r"\\\1", _SHORTCODE.sub(f":{JOINER}", _SIGN.sub(JOINER, one_line(text))))


def distinct(titles: Sequence[str]) -> list[str]:
    """Return the titles in their displayed form, numbered if several are equal."""
    names: list[str] = []
    for title in map(visible, titles):
        number, name = 1, title
        while name in names:
            number += 1
            name = f"{title} ({number})"
        names.append(name)
    return names


def title_and_unit(column: Column) -> str:
    """Return a column's name with its unit in parentheses, if it has one."""
    unit = unit_text(column)
    return f"{column_name(column)} ({unit})" if unit else column_name(column)


def axis_title(column: Column, *, across: bool = False) -> str:
    """Return a column's name, unit and direction; `across`: of a horizontal axis, where better is right or left."""
    direction = DIRECTIONS[column.direction]
    return f"{title_and_unit(column)}, {direction.translate(_ACROSS) if across else direction}"


def floor_title(metric: str) -> str:
    """Return the title of a floor: a metric of the network with its layer's output replaced, or unchanged."""
    replacements = {
        "zero": "with the layer's output set to zero",
        "mean": "with the layer's output set to its mean",
        "original": "of the original network",
    }
    floor = metric.removeprefix("floor_")
    kind, _, name = floor.partition("_")
    return f"{metric_name(name)} {replacements[kind]}" if kind in replacements else floor.replace("_", " ")


def compact(value: Any) -> str:
    """Return a value of a configuration in few characters."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={compact(item)}" for key, item in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(compact(item) for item in value) or "none"
    return visible(value)


def number(value: float | None, digits: int = 4) -> str:
    """Return a number that may be missing or NaN."""
    if value is None:
        return "–"
    return "undefined" if value != value else with_minus(f"{value:.{digits}f}")
