"""Spurious-correlation removal on planted layers, where the attribute is one of the planted concepts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from harness.planted.world import world

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("spec", "least"), [("three_concepts@0", 0.9), ("superposition@0", 0.7)])
def test_true_units_remove_a_planted_attribute_and_as_many_random_ones_less(
    spec: str, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short run of benchmarks/planted_attributes.py, whose results are in docs/probing.md."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    import planted_attributes as benchmark

    of = world(spec)

    def removal(name: str, config: dict[str, Any]) -> Any:
        return benchmark.removal(of, name, config, (0, 6), (5,))

    truth, collapsed, control = removal("oracle", {}), removal("collapsed", {}), removal(*benchmark.chance_of(of))
    assert len(benchmark.cases(of, "oracle", {}, (0, 6), (5,))) >= 10
    assert truth.attribute > least
    assert truth.attribute > control.attribute + 0.15
    assert truth.attribute > collapsed.attribute + 0.5
    assert max(truth.random, control.random) < 0.1
