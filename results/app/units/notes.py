"""Small text below a heading or a picture: smaller than the text, and as legible as it."""

from __future__ import annotations

import streamlit as st

from results.app.titles import plain


def note(text: str, *, width: str = "stretch", help: str | None = None) -> None:
    """Show a text, which may come from a store, in small letters. A caption would lack contrast on a light page."""
    st.markdown(f":small[{plain(text)}]", width="content" if width == "content" else "stretch", help=help)
