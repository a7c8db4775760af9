"""Headline of a board on a page: the sentence, the contrasts that put it into proportion, and other layers."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from results.app import data
from results.app.titles import plain
from results.boards.board import Board
from results.store import Store


def show(store: Store, boards: Sequence[Board], board: Board) -> None:
    """Show the headline of `board`, and below it those of the others."""
    content = data.headline_of(store, board)
    if content is None:
        st.caption("No headline: no two methods of this layer can be compared.")
    else:
        st.markdown(f"##### {plain(content.sentence)}")
    lines = [contrast.sentence for contrast in content.contrasts[1:]] if content else []
    others = [other for other in boards if other is not board]
    lines += [f"{other.title}: {found.sentence}" for other in others if (found := data.headline_of(store, other))]
    if lines:
        titles = ["controls"] * bool(content and content.contrasts[1:]) + ["other layers"] * bool(others)
        with st.expander(f"The same against {' and for '.join(titles)}", icon=":material/balance:"):
            st.markdown("\n".join(f"- {plain(line)}" for line in lines))
            st.caption(
                "Differences with 95 % intervals, paired over seeds, images and units, as in `harness compare`; other "
                "values side by side. The same as at the end of `harness run`."
            )
