"""Entry point of the app: the pages and their navigation. Streamlit runs this file at every interaction."""

from __future__ import annotations

import functools
import io
import sys

import streamlit as st
from PIL import Image, ImageDraw

from results.app import data, navigation, shell
from results.app.pictures import embedded
from results.pictures import theme


def main() -> None:
    """Show the page of the current address."""
    data.read_arguments(sys.argv[1:])
    st.set_page_config(page_title="Disentanglement harness", page_icon=_icon(), layout="wide")
    shell.show()
    page = st.navigation([*navigation.pages().values(), *navigation.hidden_pages()], position="top")
    # A widget of one page must not be confused with one of another page with the same label.
    st.session_state["page"] = page.title
    page.run()


@functools.lru_cache(maxsize=1)
def _icon() -> str:
    """Return a picture of three points of a front as a URL that holds it.

    A named icon would be fetched from the network, and a file of the server may be gone when the browser asks for it.
    """
    icon = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    pen = ImageDraw.Draw(icon)
    for (x, y), colour in zip(((14, 14), (40, 28), (52, 54)), (theme.VERMILION, theme.BLUE, theme.GREEN), strict=True):
        pen.ellipse((x - 12, y - 12, x + 10, y + 10), fill=colour)
    buffer = io.BytesIO()
    icon.save(buffer, "PNG")
    return embedded(buffer.getvalue(), "png")


if __name__ == "__main__":
    main()
