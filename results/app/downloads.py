"""Downloads of a board: the same exports as `harness export`."""

from __future__ import annotations

import streamlit as st

from results.boards.board import Board
from results.export import write as export


def show(board: Board) -> None:
    """Show the download buttons of a board."""
    st.subheader("Downloads")
    forms = (
        ("CSV", "csv", "text/csv", lambda: export.csv_text(export.boards_frame([board]))),
        (
            "Parquet",
            "parquet",
            "application/vnd.apache.parquet",
            lambda: export.parquet_bytes(export.boards_frame([board])),
        ),
        ("Markdown", "md", "text/markdown", lambda: export.markdown([board])),
        ("LaTeX", "tex", "application/x-tex", lambda: export.latex([board])),
    )
    with st.container(horizontal=True):
        for title, ending, mime, make in forms:
            # Built when it is requested, not at every display of the page.
            st.download_button(
                title, make, f"leaderboard.{ending}", mime, on_click="ignore", icon=":material/download:"
            )
    st.caption("CSV and Parquet hold values as stored: fractions, not percent.")
