"""JSON columns: what a run writes is kept, and content of another shape becomes empty and is noticed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from results.store.canonical import canonical_json
from results.store.json_columns import MAX_DEPTH, decode, unfit
from results.store.text_limits import MAX_JSON


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("config", {"k": 4, "grid": [1, [2, {"a": None}]]}),
        ("identity", {"evaluation": {"preprocessing": {"size": 224, "resize": 256, "fit": "crop"}}, "cell": 1}),
        ("settings", {"version": 2, "pairs": 8}),
        ("settings", {}),
        ("details", {"pairs": [0.5, "NaN"], "chance": None, "quantiles": {"0": 1.0}}),
        ("notes", ["a", "b"]),
        ("health", [{"judge": "a", "n": 3, "agreement": 0.5}]),
        ("pairwise", [{"method": "a", "opponent": "b", "wins": 1, "n": 2, "ties": 0}]),
        ("params", {"nested": json.loads("[" * (MAX_DEPTH - 2) + "]" * (MAX_DEPTH - 2))}),
    ],
)
def test_content_of_the_right_shape_is_kept(column: str, value: Any) -> None:
    text = canonical_json(value)
    assert decode(column, text) == value and not unfit(column, text)


def test_null_is_none_and_an_undefined_number_too() -> None:
    assert decode("config", None) is None and not unfit("config", None)
    assert decode("details", '{"chance": "NaN"}') == {"chance": None} and not unfit("details", '{"chance": "NaN"}')


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        ("config", "[]", {}),
        ("config", "{broken", {}),
        ("config", '"x"', {}),
        ("notes", "{}", []),
        ("notes", '["a", 1, null, ["b"]]', ["a"]),
        ("cell_ids", '[["a"], {"a": 1}, "b"]', ["b"]),
        ("settings", '{"version": "x", "pairs": 8}', {"pairs": 8}),
        ("settings", '{"version": true}', {}),
        ("settings", '{"version": ' + "9" * 5000 + "}", {}),
        ("identity", '{"evaluation": 3, "cell": 1}', {"evaluation": {}, "cell": 1}),
        ("identity", '{"evaluation": {"preprocessing": [1]}}', {"evaluation": {"preprocessing": {}}}),
        ("health", '[1, {"judge": [], "n": 3}]', [{"n": 3}]),
        ("details", '{"chance": 1e999, "on": "x"}', {"on": "x"}),
        ("params", "[" * 100_000 + "]" * 100_000, {}),
        ("params", '{"a":' * 2 * MAX_DEPTH + "1" + "}" * 2 * MAX_DEPTH, {}),
        ("params", json.dumps({"a": "x" * 100_000}), {}),
        ("details", json.dumps({"a": "x" * MAX_JSON}), {}),
        ("notes", json.dumps(["x" * 20_001, "y"]), ["y"]),
    ],
)
def test_other_content_becomes_empty(column: str, text: str, value: Any) -> None:
    assert decode(column, text) == value and unfit(column, text)
