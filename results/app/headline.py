"""Headline of a board on a page: the sentence, the contrasts that put it into proportion, and other layers."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from results.app import data
from results.app.headline_words import lead_sentence, reference_sentence, side_sentence
from results.app.metric_words import definitions
from results.app.titles import plain
from results.boards.board import Board
from results.comparison.headline import Contrast, side_values
from results.store import Store


def show(store: Store, board: Board) -> None:
    """Show the headline of a board."""
    content = data.headline_of(store, board)
    if content is None:
        st.caption("No headline: no two methods of this layer can be compared.")
        return
    first, *others = content.contrasts
    st.markdown(f"**{plain(lead_sentence(first))}**")
    parts = [part for part in (side_sentence(first), reference_sentence(others)) if part]
    if parts:
        st.caption("  \n".join(map(plain, parts)), help=_terms(first))


def _terms(contrast: Contrast) -> str:
    """Return the definitions of the terms of the sentences of a contrast, as Markdown."""
    columns = [contrast.score.column, *(d.column for d in side_values(contrast.role, contrast.comparison))]
    lines = definitions(columns)
    lines.append(
        "Points are percentage points. Two methods cannot be told apart if the 95 % interval of their difference, "
        "paired over seeds, images and units, contains 0."
    )
    return "\n\n".join(map(plain, lines))


def show_further(store: Store, boards: Sequence[Board], board: Board) -> None:
    """Show what puts the headline of `board` into proportion: its controls, and the headlines of the other boards."""
    content = data.headline_of(store, board)
    contrasts = [contrast.sentence for contrast in content.contrasts] if content else []
    layers = [
        f"{other.title}: {headline.sentence}"
        for other in boards
        if other is not board and (headline := data.headline_of(store, other))
    ]
    parts = [name for name, lines in (("against controls", contrasts[1:]), ("for other layers", layers)) if lines]
    if not contrasts and not layers:
        return
    with st.expander(f"The headline {' and '.join(parts) or 'in numbers'}", icon=":material/balance:"):
        st.markdown("\n".join(f"- {plain(line)}" for line in (*contrasts, *layers)))
        st.caption(
            "Differences with 95 % intervals, paired over seeds, images and units, as in `harness compare`; other "
            "values side by side."
        )
