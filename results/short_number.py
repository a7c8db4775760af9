"""Numbers of at most three significant digits, for tables that are read at a glance."""

from __future__ import annotations

import math

from results.minus_sign import with_minus

_PREFIXES = (("G", 1e9), ("M", 1e6), ("k", 1e3))
_LEAST, _MOST = 1e-3, 1e12


def short_number(value: float | None) -> str:
    """Return `value` with three significant digits: "16.5", "100", "12.3k", "<0.001".

    Large numbers have a prefix of the SI. A value below 0.001 that is not 0 says so. A missing one is a dash. The minus
    is that of a page (`minus_sign`).
    """
    return "–" if value is None or math.isnan(value) else with_minus(_short(value))


def _short(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    if 0 < abs(value) < _LEAST:
        return f"<{_LEAST}" if value > 0 else f">-{_LEAST}"
    # Rounded first, so that 999.9 is "1.00k" and not "1e+03".
    rounded = float(f"{value:.3g}")
    if abs(rounded) >= _MOST:
        return f"{rounded:.2e}"
    for prefix, factor in _PREFIXES:
        if abs(rounded) >= factor:
            return f"{rounded / factor:#.3g}".rstrip(".") + prefix
    return "0" if rounded == 0 else f"{rounded:#.3g}".rstrip(".")
