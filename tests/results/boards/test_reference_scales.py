"""Frozen reference scales: their ends, floors of a row's own network, and values outside of them."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from paths import ROOT

from results.boards.reference_scales import SCALES, SCALES_VERSION, Scale

FLOORS = {"floor_mean_accuracy": 0.5, "floor_original_accuracy": 0.9, "floor_mean_agreement": 0.6}


def test_the_reference_scales_must_not_change() -> None:
    ends = {name: (scale.worst, scale.best) for name, scale in SCALES.items()}
    assert SCALES_VERSION == 2
    assert (ends["ms_score"], ends["kl"], ends["unit_overlap"]) == ((0.0, 1.0), (1.0, 0.0), (1.0, 0.0))
    assert (ends["l0"], ends["fit_seconds"], ends["encode_macs"]) == ((1000.0, 1.0), (3600.0, 1.0), (100.0, 0.01))
    assert (ends["ms_score_token_adjusted"], ends["autointerp"]) == ((0.0, 0.5), (0.5, 1.0))


def test_every_scale_has_a_reason_and_ends_that_can_be_used() -> None:
    for name, scale in SCALES.items():
        assert scale.reason and scale.worst != scale.best, name
        assert not scale.is_log or min(scale.worst, scale.best) > 0, name


@pytest.mark.parametrize(
    ("metric", "value", "expected"),
    [
        ("r2", 0.25, 0.25),
        ("r2", -3.0, 0.0),
        ("kl", 0.25, 0.75),
        ("kl", 1e300, 0.0),
        ("accuracy", 0.7, 0.5),
        ("accuracy", 0.95, 1.0),
        ("agreement", 0.7, 0.25),
        ("fit_seconds", 60.0, 0.5),
        ("fit_seconds", 0.0, 1.0),
        ("l0", math.sqrt(1000), 0.5),
        ("l0", 1e300, 0.0),
        ("encode_macs", 1.0, 0.5),
    ],
)
def test_positions_in_closed_form(metric: str, value: float, expected: float) -> None:
    scale = SCALES[metric].resolved(FLOORS)
    assert scale is not None and float(scale.position(value)) == pytest.approx(expected)
    assert math.isnan(float(scale.position(math.nan)))


@pytest.mark.parametrize(
    "floors", [{}, {"floor_mean_accuracy": 0.5}, {"floor_mean_accuracy": 0.9, "floor_original_accuracy": 0.9}]
)
def test_a_layer_whose_ablation_costs_nothing_gives_no_scale(floors: dict[str, float]) -> None:
    assert SCALES["accuracy"].resolved(floors) is None
    assert "floor_mean_accuracy and floor_original_accuracy" in SCALES["accuracy"].missing


def test_a_scale_may_run_down_to_its_floor() -> None:
    scale = Scale(2.0, 0.0, worst_floor="floor_mean_kl")
    resolved = scale.resolved({"floor_mean_kl": 4.0})
    assert resolved is not None and resolved.position(np.array([4.0, 1.0, 0.0])).tolist() == [0.0, 0.75, 1.0]
    assert scale.resolved({"floor_mean_kl": -1.0}) is None


def test_the_table_of_the_documentation_has_these_scales() -> None:
    lines = (ROOT / "docs" / "aggregate.md").read_text().splitlines()
    listed = {}
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0].startswith("`"):
            listed |= dict.fromkeys(re.findall(r"`(\w+)`", cells[0]), tuple(cells[1:3]))

    def end(value: float, floor: str, log: str = "") -> str:
        return f"`{floor}`" if floor else f"{value:g}{log}"

    expected = {
        name: (
            end(scale.worst, scale.worst_floor, " (log)" if scale.is_log else ""),
            end(scale.best, scale.best_floor),
        )
        for name, scale in SCALES.items()
    }
    assert listed == expected
    assert f"Version {SCALES_VERSION}:" in lines
