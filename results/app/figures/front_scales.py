"""Axes of the front, and the numbers of its table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from results.app.titles import one_line
from results.boards.scales import AxisRange, decimals_of, log_ticks
from results.minus_sign import with_minus


def axis(channel: Any, title: str, span: AxisRange, ticks: int = 6) -> Any:
    """Return the Altair channel `channel` (alt.X or alt.Y) of the field x or y."""
    kind = {"type": "log"} if span.is_log else {"type": "linear", "zero": False}
    scale = alt.Scale(domain=[span.low, span.high], nice=False, **kind)
    ticks_of_scale = {"values": log_ticks(span), "format": "~g"} if span.is_log else {"tickCount": ticks}
    field = "x" if channel is alt.X else "y"
    return channel(f"{field}:Q", title=one_line(title), scale=scale, axis=alt.Axis(labelFlush=False, **ticks_of_scale))


def short_interval(span: Sequence[float]) -> str:
    """Return a mean with its interval (mean, low, high), with the decimals of three significant digits of the mean.

    An interval without a length is left out.
    """
    mean = span[0]
    decimals = min(max(decimals_of(mean), 0), 6)
    texts = [with_minus(f"{value:,.{decimals}f}") for value in span]
    return texts[0] + (f" [{texts[1]}, {texts[2]}]" if texts[1] != texts[2] else "")
