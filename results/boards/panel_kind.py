"""Kinds of judge panels: proxies are image encoders, and people are people; all others are language models."""

from __future__ import annotations


def is_proxy(panel: str | None) -> bool:
    """Return whether a panel's judges are image encoders rather than language models."""
    return (panel or "").partition(":")[0] == "proxy"


def is_people(panel: str | None) -> bool:
    """Return whether the judges of a panel are people; its id does not name them, since they join freely."""
    return (panel or "").partition(":")[0] == "people"
