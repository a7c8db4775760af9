"""Texts of CSV files, guarded against being run as formulas by spreadsheet programs.

A program that opens a CSV file takes a cell that begins with ``=``, ``+``, ``-`` or ``@`` for a formula, which may
start programs or send the other cells to a server. An apostrophe before the text prevents it. Numbers stay as they are.
"""

from __future__ import annotations

import re

from results.visible_text import visible

#: First letters of a formula, their full-width, small, raised and lowered forms, and the minus sign.
_TRIGGERS = "=+\\-@＝＋－＠﹦﹢﹣﹫⁼⁺⁻₌₊₋−"
#: What a program may skip before a formula: white space, quotes, and control characters (escaped by `visible`).
_SKIPPED = r"""(?:[\s"'`´‘’‚‛“”„‟«»‹›＂＇｀]|\\[ntr]|\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\U[0-9a-f]{8})*"""
_FORMULA = re.compile(f"{_SKIPPED}[{_TRIGGERS}]")
_NUMBER = r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|inf|nan)"
#: Number, value of a board with its error, interval, counts and mark, or the hyphen of a missing one.
_VALUE = re.compile(
    rf"\s*(?:-|{_NUMBER}(?: ± {_NUMBER})?(?: \[{_NUMBER}, {_NUMBER}\])?(?: n=\d+)?(?: of \d+)?(?: best| second)?)\s*"
)


def csv_cell(text: str) -> str:
    """Return a text for a CSV cell: control characters escaped, and an apostrophe before what looks like a formula.

    Some programs split cells at semicolons too, so each part between semicolons is guarded.
    """
    parts = visible(text, keep="").split(";")
    return ";".join(f"'{part}" if _is_formula(part) else part for part in parts)


def unguarded(text: str) -> str:
    """Return a text that was read from an exported CSV file without the apostrophes that :func:`csv_cell` added."""
    parts = text.split(";")
    return ";".join(part[1:] if part.startswith("'") and _is_formula(part[1:]) else part for part in parts)


def _is_formula(text: str) -> bool:
    return _FORMULA.match(text) is not None and _VALUE.fullmatch(text) is None
