"""Kinds of judge panels: proxies are image encoders, not language models."""

from __future__ import annotations


def is_proxy(panel: str | None) -> bool:
    """Return whether a panel's judges are image encoders rather than language models."""
    return (panel or "").partition(":")[0] == "proxy"
