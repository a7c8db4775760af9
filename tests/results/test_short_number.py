"""Numbers of at most three significant digits."""

from __future__ import annotations

import pytest

from results.short_number import short_number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.0, "0"),
        (16.48, "16.5"),
        (100.0, "100"),
        (99.96, "100"),
        (999.9, "1.00k"),
        (12345.0, "12.3k"),
        (1.5e6, "1.50M"),
        (0.0793, "0.0793"),
        (0.00004, "<0.001"),
        (-0.00004, ">−0.001"),
        (-3.2, "−3.20"),
        (1e15, "1.00e+15"),
    ],
)
def test_a_number_has_three_significant_digits(value: float | None, text: str) -> None:
    assert short_number(value) == text
