"""Buttons that copy the address of the view, and that save its picture and its values.

A component of this project, because Streamlit has neither a button that copies the address, which holds every choice
of the reader, nor a download of a chart as SVG; its PNG has the colours of the light theme.
"""

from __future__ import annotations

from pathlib import Path

from streamlit.components.v2 import component

_HERE = Path(__file__)
_mount = component(
    "harness_front_share",
    html='<div class="share"></div>',
    css=_HERE.with_suffix(".css").read_text(encoding="utf-8"),
    js=_HERE.with_suffix(".js").read_text(encoding="utf-8"),
)


def show(csv: str, name: str) -> None:
    """Show the buttons.

    Args:
        csv: values of the plot.
        name: of the saved files, without an ending.
    """
    _mount(key="front_share", data={"csv": csv, "name": name})
