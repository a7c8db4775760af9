"""Judge panels on the page: their names, and the badge of panels that hold no language model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import streamlit as st

from results.app.titles import plain
from results.boards.panel_kind import is_people, is_proxy

PROXY = "proxy panel"
PROXY_MEANING = (
    "The judges are image encoders, not language models: they compare how similar the images of each grid are. Their "
    "votes say little about what people would call one concept."
)
_PROXY_JUDGE = "proxy/"


def badge(panel: str) -> None:
    """Show the badge of a panel: yellow for proxies, green for people, blue for others."""
    kind = panel.partition(":")[0]
    if is_proxy(panel):
        st.badge(PROXY, icon=":material/smart_toy:", color="orange", help=PROXY_MEANING)
    elif is_people(panel):
        st.badge("people", icon=":material/group:", color="green")
    else:
        st.badge(plain(f"{kind} judges"), icon=":material/gavel:", color="blue")


def panel_title(panel: str, titles: Mapping[str, str] | None = None) -> str:
    """Return a panel in words: "proxy panel of DINOv2 ViT-S/14 and gradients" of "proxy:dinov2_small+gradients"."""
    if is_people(panel):
        return "people"
    kind, _, members = panel.partition(":")
    named = members.split("+") if members else []
    if is_proxy(panel):
        named = judge_names([f"{_PROXY_JUDGE}{name}" for name in named], titles)
    listed = f"{', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else "".join(named)
    return f"{PROXY if is_proxy(panel) else f'{kind} panel'}{f' of {listed}' if listed else ''}"


def judge_name(judge: object, titles: Mapping[str, str] | None = None) -> str:
    """Return a judge's name without its kind and the hash of its settings: "model" of "vllm/model#1a2b3c4d".

    Args:
        judge: id of the judge.
        titles: title of each backbone, for proxies; other proxies have words for names.
    """
    text = str(judge)
    name = text.partition("/")[2]
    name = name.rpartition("#")[0] or name or text
    if not text.startswith(_PROXY_JUDGE):
        return name
    return (titles or {}).get(name) or name.replace("colour_texture", "colour/texture").replace("_", " ")


def judge_names(judges: Iterable[object], titles: Mapping[str, str] | None = None) -> list[str]:
    """Return the names of judges; a name that two of them share keeps its hash."""
    texts = [str(judge) for judge in judges]
    names = [judge_name(text, titles) for text in texts]
    return [text if names.count(name) > 1 else name for text, name in zip(texts, names, strict=True)]
