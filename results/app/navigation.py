"""Pages of the app and permalinks to their content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from results.app.titles import plain
from results.boards.board import Row

_SCREENS = Path(__file__).with_name("screens")
# file name: (title, icon)
_TITLES = {
    "front": ("Front", ":material/scatter_plot:"),
    "leaderboard": ("Leaderboard", ":material/leaderboard:"),
    "method": ("Method", ":material/tune:"),
    "units": ("Units", ":material/grid_view:"),
    "compare": ("Compare", ":material/compare:"),
    "judges": ("Judges", ":material/gavel:"),
    "runs": ("Runs", ":material/history:"),
}


def pages() -> Mapping[str, Any]:
    """Return name -> page, in the order of the navigation."""
    # `/front` leads to the first page.
    alias = st.Page(_to_front, title="Front page", url_path="front", visibility="hidden")
    return {**{name: page(name) for name in _TITLES}, "alias": alias}


def page(name: str) -> Any:
    """Return one page by the name of its file."""
    title, icon = _TITLES[name]
    is_first = name == "front"
    # The first page answers at the address of the app only, and must not reserve its own name (see `pages`).
    path = "home" if is_first else name
    return st.Page(_SCREENS / f"{name}.py", title=title, icon=icon, url_path=path, default=is_first)


def link(name: str, label: str, **parameters: object) -> None:
    """Show a link to a page with parameters; `label` is Markdown, so escape data in it."""
    st.page_link(page(name), label=label, query_params=_texts(parameters))


def method_links(rows: Iterable[Row]) -> None:
    """Show a link to the page of each method: links work without a mouse, the marks of a chart do not."""
    with st.container(horizontal=True):
        st.text("Open:")
        for row in rows:
            link("method", plain(row.title_with_flags), cell=row.cell_ids[0])


def _to_front() -> None:
    go("front", **st.query_params.to_dict())


def go(name: str, **parameters: object) -> None:
    """Switch to another page with parameters."""
    st.switch_page(page(name), query_params=_texts(parameters))


def _texts(parameters: Mapping[str, object]) -> dict[str, str]:
    return {key: str(value) for key, value in parameters.items() if value is not None}
