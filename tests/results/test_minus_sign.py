"""Minus signs of numbers on pages."""

from __future__ import annotations

import pytest

from results.minus_sign import with_minus


@pytest.mark.parametrize(
    ("text", "page"),
    [
        ("-0.4 [-2.8, 1.7]", "−0.4 [−2.8, 1.7]"),
        ("MS above chance -3 points", "MS above chance −3 points"),
        (">-0.001", ">−0.001"),
        ("1.00e-05 and 2E-3", "1.00e−05 and 2E−3"),
        ("-.5", "−.5"),
        ("0 -> 1", "0 -> 1"),
        ("-", "-"),
        # Names and ranges keep their hyphens.
        ("DINOv2 ViT-S/14", "DINOv2 ViT-S/14"),
        ("token-0, 2026-11-29, 3-5, --k -x", "token-0, 2026-11-29, 3-5, --k -x"),
        ("cell 4e-7f2 of topk_sae-42", "cell 4e-7f2 of topk_sae-42"),
    ],
)
def test_only_the_minus_of_a_number_is_replaced(text: str, page: str) -> None:
    assert with_minus(text) == page
    assert with_minus(page) == page
