"""Definitions of metrics in a few words, for readers who meet them on a page for the first time."""

from __future__ import annotations

from collections.abc import Iterable

from results.boards.board import Column
from results.boards.lead_columns import INTERPRETABILITY, LEADS, column_name, lead_of

_MS = LEADS[INTERPRETABILITY]["ms_score"]


def definitions(columns: Iterable[Column]) -> list[str]:
    """Return "name: definition" for each column that has one."""
    texts = ((column_name(column), definition(column)) for column in columns)
    return [f"{name}: {text}" for name, text in texts if text]


def definition(column: Column) -> str:
    """Return the definition of a column's metric; empty for one that the harness does not explain.

    That of a metric derived from the MS score defines the MS score, too.
    """
    lead = lead_of(column)
    if lead is None:
        return ""
    before, _, rest = lead.explanation.partition(f"{_MS.heading} ")
    return lead.explanation if before or not rest else f"{_MS.explanation}, {rest}"
