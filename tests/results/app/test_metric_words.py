"""Definitions of metrics in a few words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from results.app.metric_words import definition, definitions


def column(metric: str, version: int = 2) -> Any:
    return SimpleNamespace(key=metric, metric=metric, version=version, unit="fraction", panel=None)


@pytest.mark.parametrize("metric", ["ms_score_token_adjusted", "ms_score_adjusted"])
def test_what_is_derived_from_the_ms_score_defines_it(metric: str) -> None:
    text = definition(column(metric))
    assert text.startswith(f"{definition(column('ms_score'))}, from 0 (")


def test_a_metric_without_an_explanation_is_left_out() -> None:
    assert definitions([column("r2"), column("of a plugin")]) == [
        "R2: share of the variance of the layer's output that the units reconstruct"
    ]
