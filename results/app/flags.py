"""Flags of rows on a page: the sentence of each flag, for the rows that the page names."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from results.app.titles import plain
from results.boards.board import Row
from results.boards.value_text import flag_lines
from results.minus_sign import with_minus


def warn(*rows: Row) -> None:
    """Show the flags of the rows that a page is about."""
    if lines := _lines((row.title, row) for row in rows):
        st.warning(lines, icon=":material/flag:")


def explain(named: Iterable[tuple[str, Row]]) -> None:
    """Show the flags of the rows of a table or chart, given with their names, folded."""
    flagged = [(name, row) for name, row in named if row.flags]
    if flagged:
        count = "One row is" if len(flagged) == 1 else f"{len(flagged)} rows are"
        with st.expander(f"{count} flagged: not ranked, and not on the front. Why?", icon=":material/flag:"):
            st.markdown(_lines(flagged))


def _lines(named: Iterable[tuple[str, Row]]) -> str:
    """Return one Markdown line per flag, with the rows that share its sentence."""
    return "  \n".join(plain(with_minus(line)) for line in flag_lines(named))
