"""Activation maps: the codes of the top images, as the evaluation pass saw them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import torch

from harness.activations.unit_statistics import UnitStatistics
from harness.cells import unit_maps as module
from harness.cells.evaluate import evaluate
from harness.cells.method_output import MethodCalls
from harness.check.world import CheckWorld, small_world
from harness.metrics.base import METRICS
from methods.base import Method
from results.store.unit_maps import MAX_MAPS, unpack


@pytest.fixture(scope="module")
def world() -> Iterator[CheckWorld]:
    with small_world() as made:
        yield made


def codes_of(method: Method, world: CheckWorld) -> torch.Tensor:
    """Return the codes (n_images, T, n_units) of all images, from the stored tokens."""
    assert method.spec.reads == "output"
    baseline = world.baseline
    rows = torch.arange(baseline.n_images * baseline.n_tokens)
    tokens = baseline.tokens.gather("output", rows.numpy())
    return method.encode(tokens).unflatten(0, (baseline.n_images, baseline.n_tokens))


def test_kept_codes_leave_the_device_before_a_metric_measures_memory(
    world: CheckWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls, steps = METRICS.get("r2"), []
    compute, move = cls.compute, module.KeptCodes.to_cpu
    monkeypatch.setattr(cls, "compute", lambda *given: (steps.append("metric"), list(compute(*given)))[1])
    monkeypatch.setattr(module.KeptCodes, "to_cpu", lambda kept: (steps.append("moved"), move(kept))[1])
    assert evaluate(world.fitted["pca"], world.baseline, [cls]).unit_maps is not None
    assert steps == ["moved", "metric"]


@pytest.mark.parametrize("name", ["pca", "random_dictionary"])
@pytest.mark.parametrize("source", ["kept codes", "states", "pixels"])
def test_maps_are_the_codes_on_the_top_images(
    name: str, source: str, world: CheckWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = world.fitted[name]
    if source == "kept codes":
        monkeypatch.setattr(module, "_codes", None)  # would encode again
    else:
        monkeypatch.setattr(module, "KEPT_LIMIT", 0)
    baseline = world.baseline
    if source == "pixels":
        baseline = dataclasses.replace(baseline, passes=dataclasses.replace(baseline.passes, states=None))
    evaluation = evaluate(method, baseline, [METRICS.get("ms_score")])
    assert evaluation.unit_maps is not None
    codes = codes_of(method, world)
    units = evaluation.units.set_index("unit")
    assert evaluation.unit_maps["unit"].tolist() == units.index[units["alive"]].tolist()
    for unit, side, maps, peaks in evaluation.unit_maps.itertuples(index=False, name=None):
        unpacked = unpack(side, maps, peaks)
        assert unpacked is not None and side == 4
        images = units["top_image"][unit]
        assert len(unpacked.maps) == min(MAX_MAPS, len(images))
        for number, image in enumerate(images):
            ordinal = int(np.searchsorted(baseline.index, image))
            expected = codes[ordinal, :, unit].clamp(min=0).reshape(4, 4) / units["max_activation"][unit]
            step = 1 / (module.LEVELS - 1)
            assert np.abs(unpacked.maps[number] / 255 - expected.numpy()).max() <= step / 2 + 1e-5
        # The first image has the maximum of the split, at its position.
        assert unpacked.maps[0].max() == 255 and unpacked.maps[0].flat[units["top_position"][unit][0]] == 255
        assert unpacked.peaks.sum() == (codes[:, :, unit].amax(1) > 0).sum()


def test_maps_are_within_the_size_and_half_of_them_are_of_the_best_units(
    world: CheckWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = world.fitted["random_dictionary"]
    evaluation = evaluate(method, world.baseline, [METRICS.get("ms_score")])
    alive = evaluation.units[evaluation.units["alive"]].sort_values(["ms_score", "unit"], ascending=[False, True])
    n_maps = len(evaluation.units["top_image"][0])
    monkeypatch.setattr(module, "SIZE_LIMIT", 4 * n_maps * 16)
    maps = [evaluate(method, world.baseline, [METRICS.get("ms_score")]).unit_maps for _ in range(2)]
    assert maps[0] is not None and maps[1] is not None
    pd.testing.assert_frame_equal(maps[0], maps[1])
    assert len(maps[0]) == 4 and set(alive["unit"][:2]) <= set(maps[0]["unit"]) <= set(alive["unit"])
    assert maps[0]["unit"].is_monotonic_increasing


def test_dead_units_have_no_maps(world: CheckWorld) -> None:
    evaluation = evaluate(world.fitted["dead units"], world.baseline, [])
    assert evaluation.unit_maps is not None and evaluation.unit_maps.empty


def test_a_failure_of_the_maps_is_a_note(world: CheckWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **options: object) -> None:
        raise RuntimeError("no memory for maps")

    monkeypatch.setattr("harness.cells.evaluate.unit_maps", broken)
    evaluation = evaluate(world.fitted["pca"], world.baseline, [METRICS.get("r2")])
    assert evaluation.unit_maps is None and evaluation.scores
    assert "The activation maps failed: RuntimeError: no memory for maps." in evaluation.notes


def test_a_fine_grid_is_pooled_by_its_maximum() -> None:
    codes = torch.zeros(1, 36 * 36, 1)
    codes[0, 5 * 36 + 35] = 2.0
    levels = module._levels(codes, torch.tensor([2.0]), 36, 16)
    assert levels.shape == (1, 1, 16, 16) and levels[0, 0, 2, 15] == 255
    assert (levels > 0).sum() in (1, 2)  # 36 / 16 is no whole number, so windows overlap


def test_tokens_without_a_grid_have_a_histogram_only(world: CheckWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    baseline = world.baseline
    monkeypatch.setattr(baseline.passes.site, "positions", lambda n: -1 - torch.arange(n, dtype=torch.int32))
    statistics = UnitStatistics(3, 2)
    statistics.update(torch.rand(2, baseline.n_tokens, 3), torch.tensor([0, 1]))
    calls = MethodCalls(world.fitted["pca"], baseline.passes, [])
    maps = module.unit_maps(calls, baseline, statistics, None)
    assert maps["side"].tolist() == [0, 0, 0] and maps["maps"].tolist() == [None] * 3
    assert [int(counts.sum()) for counts in maps["peaks"]] == [2, 2, 2]
