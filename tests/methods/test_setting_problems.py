"""Sentences about wrong settings: one per mistake, in plain words, with advice that helps."""

from __future__ import annotations

from typing import Any

import pytest

import methods
from harness.check.world import small_layer
from methods import UserError


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("multi_topk_sae", {"factors": [1e999]}, "multi_topk_sae.factors.0 = inf: input should be a finite number."),
        ("multi_topk_sae", {"factors": []}, "multi_topk_sae.factors = []: it needs at least 1 entry."),
        ("multi_topk_sae", {"factors": 3}, "multi_topk_sae.factors = 3: it must be a list, in square brackets."),
        ("elude", {"rho_grid": []}, "elude.rho_grid = []: it needs at least 1 entry."),
        (
            "topk_sae",
            {"expansion_factor": "nan"},
            "topk_sae.expansion_factor = 'nan': input should be a finite number.",
        ),
        ("topk_sae", {"k": "-inf"}, "topk_sae.k = '-inf': input should be a finite number."),
        (
            "topk_sae",
            {"expansion_factor": "04"},
            "topk_sae.expansion_factor = '04': input should be a valid number, not text; write 4 without quotes.",
        ),
        ("topk_sae", {"k": "4.5"}, "topk_sae.k = '4.5': input should be a valid integer, not text."),
        ("topk_sae", {"k": "many"}, "topk_sae.k = 'many': input should be a valid integer, not text."),
    ],
)
def test_one_mistake_is_one_sentence(name: str, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        methods.create(name, **settings)
    assert str(refused.value) == sentence


def test_a_long_list_tells_how_many_entries_it_may_have() -> None:
    with pytest.raises(UserError, match="it must have at most 100 entries"):
        methods.create("multi_topk_sae", factors=[1.0] * 101)


@pytest.mark.parametrize("settings", [{"points": 100_000}, {"expansion_factor": 50_000}])
def test_too_few_tokens_for_the_archetype_points_name_both_settings(settings: dict[str, Any]) -> None:
    site, tokens = small_layer()
    with pytest.raises(UserError, match="lower points, or expansion_factor if points is not set"):
        methods.create("archetypal_sae", **settings).fit(tokens, site)
