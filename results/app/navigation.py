"""Pages of the app and permalinks to their content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from results.app import data
from results.app.titles import plain
from results.boards.board import Row
from results.people.ballot import ballot_ids

_SCREENS = Path(__file__).with_name("screens")
# file name: (title, icon)
_TITLES = {
    "front": ("Front", ":material/scatter_plot:"),
    "leaderboard": ("Leaderboard", ":material/leaderboard:"),
    "method": ("Method", ":material/tune:"),
    "units": ("Units", ":material/grid_view:"),
    "compare": ("Compare", ":material/compare:"),
    "steer": ("Steer", ":material/graphic_eq:"),
    "judges": ("Judges", ":material/gavel:"),
    "vote": ("Vote", ":material/how_to_vote:"),
    "runs": ("Runs", ":material/history:"),
}
#: Page that is in the navigation only if there is something to vote on; its address always works.
_VOTE = "vote"


def pages() -> Mapping[str, Any]:
    """Return name -> page, in the order of the navigation."""
    return {name: page(name) for name in _TITLES}


def hidden_pages() -> Sequence[Any]:
    """Return the pages that an address has and the navigation never has.

    Streamlit serves the default page at ``/`` only, and says "Page not found" at the address ``/front``.
    """
    title, icon = _TITLES["front"]
    return (st.Page(_SCREENS / "front.py", title=title, icon=icon, url_path="front", visibility="hidden"),)


def page(name: str) -> Any:
    """Return one page by the name of its file."""
    title, icon = _TITLES[name]
    is_default = name == "front"
    # The path of the default page is not part of its address, but must differ from that of the hidden page.
    path = "home" if is_default else name
    is_hidden = name == _VOTE and not ballot_ids(data.folder())
    return st.Page(
        _SCREENS / f"{name}.py",
        title=title,
        icon=icon,
        url_path=path,
        default=is_default,
        visibility="hidden" if is_hidden else "visible",
    )


def link(name: str, label: str, *, icon: str | None = None, **parameters: object) -> None:
    """Show a link to a page with parameters.

    Args:
        name: of the page's file.
        label: Markdown, so escape data in it.
        icon: icon of the link; "": none; None: that of the page.
        parameters: of the address.
    """
    st.page_link(page(name), label=label, icon=icon, query_params=_texts(parameters))


def method_links(rows: Iterable[Row]) -> None:
    """Show a link to the page of each method: links work without a mouse, the marks of a chart do not."""
    with st.container(horizontal=True):
        st.text("Open:")
        for row in rows:
            link("method", plain(row.title_with_flags), cell=row.cell_ids[0])


def go(name: str, **parameters: object) -> None:
    """Switch to another page with parameters."""
    st.switch_page(page(name), query_params=_texts(parameters))


def _texts(parameters: Mapping[str, object]) -> dict[str, str]:
    return {key: str(value) for key, value in parameters.items() if value is not None}
