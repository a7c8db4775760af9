"""Downloads of a board: the same exports as `harness export`."""

from __future__ import annotations

import functools

import streamlit as st

from results.boards.board import Board
from results.export import write as export


def show(board: Board) -> None:
    """Show the download buttons of a board."""
    st.header("Downloads")
    frame = functools.partial(export.boards_frame, [board])
    forms = (
        ("CSV", "csv", "text/csv", lambda: export.csv_text(frame())),
        ("Parquet", "parquet", "application/vnd.apache.parquet", lambda: export.parquet_bytes(frame())),
        ("Markdown", "md", "text/markdown", lambda: export.markdown([board])),
        ("LaTeX", "tex", "application/x-tex", lambda: export.latex([board])),
    )
    with st.container(horizontal=True):
        for title, ending, mime, make in forms:
            # Built when it is requested, not at every display of the page.
            name = f"leaderboard.{ending}"
            st.download_button(title, make, name, mime, on_click="ignore", icon=":material/download:")
    st.caption("CSV and Parquet hold values as stored: fractions, not percent.")
