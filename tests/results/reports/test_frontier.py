"""Tables and JSON content of frontiers: settings, areas, differences, and why there are none."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from frontier_store import curves, one, setting
from hostile_texts import hostile_texts

from results import open_store
from results.reports.frontier import table, table_json
from results.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "r.duckdb", read_only=False)


def test_a_line_has_the_area_and_the_difference_from_the_largest(store: Store) -> None:
    for k, r2 in ((1, 0.2), (100, 0.8)):
        setting(store, "a", k, [r2 - 0.1, r2, r2 + 0.1])
        setting(store, "b", k, [r2 - 0.21, r2 - 0.1, r2 + 0.01])
    content = table(one(store))
    lines = {line[0]: dict(zip(content.header, line, strict=True)) for line in content.rows}
    assert lines["a"]["area (%) ↑"] == "50.00" and lines["b"]["area (%) ↑"] == "40.00"
    assert lines["a"]["minus the largest"] == "-" and lines["b"]["minus the largest"] == "-10.00"
    curve = curves(one(store))["b"]
    assert curve.behind_interval is not None
    assert content.rows[1][9] == " to ".join(f"{100 * end:.2f}" for end in curve.behind_interval)
    assert content.rows[1][-1] == "3"


def test_settings_are_named_by_what_differs(store: Store) -> None:
    setting(store, "topk_sae", 1, [0.2] * 3, label="TopK 1")
    setting(store, "topk_sae", 10, [0.6] * 3, label="TopK 10")
    setting(store, "dead", 1, [0.5] * 3, l0=0.0)
    notes = table(one(store)).notes
    assert "topk_sae, l0 and r2 (%) of its settings: TopK 1: 1, 20.00; TopK 10: 10, 60.00" in notes
    assert "without l0 above 0 or without r2: dead" in notes
    setting(store, "far", 1000, [0.2] * 3)
    setting(store, "far", 2000, [0.2] * 3)
    assert table(one(store)).notes[0].startswith("No limits")


def test_a_store_of_odd_values_gives_json(store: Store) -> None:
    for number, (l0, r2) in enumerate([(1e99, 1e99), (1e-300, -1e99), (5.0, math.inf), (math.inf, 0.5), (7.0, 0.2)]):
        setting(store, "a", number, [r2, r2], l0=l0, label="".join(hostile_texts(40)), error=1e200)
    content = table_json(one(store))
    json.dumps(content, allow_nan=False)
    assert [point["x"] for point in content["curves"][0]["points"]] == [1e-300, 7.0, 1e99]
    assert table(one(store)).rows
