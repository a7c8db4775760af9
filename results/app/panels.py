"""Judge panels on the page: their names, and the badge of panels that hold no language model."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from results.app.titles import plain
from results.boards.panel_kind import is_proxy

PROXY = "proxy panel"
PROXY_MEANING = (
    "The judges are image encoders, not language models: they compare how similar the images of each grid are. Their "
    "votes say little about what people would call one concept."
)


def badge(panel: str) -> None:
    """Show the badge of a panel: yellow for proxies, blue for others."""
    kind = panel.partition(":")[0]
    if is_proxy(panel):
        st.badge(PROXY, icon=":material/smart_toy:", color="orange", help=PROXY_MEANING)
    else:
        st.badge(plain(f"{kind} judges"), icon=":material/gavel:", color="blue")


def judge_name(judge: object) -> str:
    """Return a judge's name without its kind and the hash of its settings: "dinov2" of "proxy/dinov2#1a2b3c4d"."""
    text = str(judge)
    name = text.partition("/")[2].rpartition("#")[0]
    return name or text


def judge_names(judges: Iterable[object]) -> list[str]:
    """Return the names of judges; a name that two of them share keeps its hash."""
    texts = [str(judge) for judge in judges]
    names = [judge_name(text) for text in texts]
    return [text if names.count(name) > 1 else name for text, name in zip(texts, names, strict=True)]
