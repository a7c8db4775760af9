"""Sizes in bytes as text."""

from __future__ import annotations

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def size_text(n_bytes: float) -> str:
    """Return a size in the largest unit of which it has at least one: "624 bytes", "12.5 MiB", "3.0 TiB".

    Below 1024 bytes it is exact, above it has one decimal; sizes beyond the last unit have an exponent.
    """
    if abs(n_bytes) < 1024:
        number = int(n_bytes)
        return f"{number} byte{'' if abs(number) == 1 else 's'}"
    size, number_of_unit = float(n_bytes), 0
    # 1023.97 KiB would be printed as 1024.0 KiB.
    while abs(round(size, 1)) >= 1024 and number_of_unit < len(_UNITS) - 1:
        size, number_of_unit = size / 1024, number_of_unit + 1
    return f"{size:.1f} {_UNITS[number_of_unit]}" if abs(size) < 1e6 else f"{size:.3g} {_UNITS[number_of_unit]}"
