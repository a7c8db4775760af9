"""Time spans in words, with at most three digits: the same in the terminal, in the app and on the site."""

from __future__ import annotations

import math


def duration_text(seconds: float | None, *, is_rough: bool = False) -> str:
    """Return a time span: "20.8 s", "2 min 22 s", "34 min", "3 h 20 min", "2 d 4 h"; a dash without one.

    Args:
        seconds: not negative; a negative one, of clocks that disagree, counts as 0.
        is_rough: an estimate, or a time that goes on: whole seconds, and from 100 s whole minutes.
    """
    if seconds is None or not math.isfinite(seconds):
        return "–"
    seconds = max(seconds, 0.0)
    if seconds < 99.95 and not is_rough:
        return "0 s" if seconds == 0 else "<0.1 s" if seconds < 0.05 else f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 599.5 and not is_rough:
        return _two(round(seconds), 60, "min", "s")
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return _two(minutes, 60, "h", "min")
    return _two(round(minutes / 60), 24, "d", "h")


def _two(count: int, size: int, large: str, small: str) -> str:
    """Return `count` small units as large ones of that size, and the rest."""
    whole, rest = divmod(count, size)
    return f"{whole} {large} {rest} {small}" if rest else f"{whole} {large}"
