"""Display of a figure on the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from results.app.figures.spec import Spec


def show(figure: Spec, key: str, alt: str) -> None:
    """Show a figure, described to screen readers by `alt`."""
    st.vega_lite_chart(figure, key=key, alt=alt)


def show_clickable(
    figure: Spec, key: str, alt: str, selection: str, on_click: Callable[[Mapping[str, Any]], None]
) -> None:
    """Show a figure, and call `on_click` with the row that the reader has clicked before the page is shown again.

    The row has the fields of the `selection` of the figure. A figure without this selection, because it has no marks,
    is shown without it.
    """
    if not any(param["name"] == selection for layer in figure["layer"] for param in layer.get("params", ())):
        show(figure, key, alt)
        return

    def report() -> None:
        rows = st.session_state[key]["selection"].get(selection)
        # A click beside the marks selects nothing.
        if isinstance(rows, list) and rows and isinstance(rows[0], Mapping):
            on_click(rows[0])

    st.vega_lite_chart(figure, key=key, alt=alt, on_select=report, selection_mode=selection)
