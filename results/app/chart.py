"""Display of a figure on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from results.app.figures.spec import Spec


def show(figure: Spec, key: str, alt: str) -> None:
    """Show a figure, described to screen readers by `alt`."""
    st.vega_lite_chart(figure, key=key, alt=alt)


def clicked(figure: Spec, key: str, alt: str, selection: str) -> list[Mapping[str, Any]]:
    """Show a figure and return the rows that the reader has selected by clicks, with the fields of its `selection`.

    A figure without this selection, because it has no marks, is shown without it.
    """
    if not any(param["name"] == selection for layer in figure["layer"] for param in layer.get("params", ())):
        show(figure, key, alt)
        return []
    state = st.vega_lite_chart(figure, key=key, alt=alt, on_select="rerun", selection_mode=selection)
    rows = state["selection"].get(selection)
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
