"""The sweep: its grids, the score of eq. 9, and both choices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.errors import UserError
from harness.run.selection import candidates_of, pick_at_target, selection_scores
from harness.run.sweep import sweep
from harness.suites import parse_suite
from harness.suites.grids import GRIDS, grid


def test_the_grids_are_the_papers() -> None:
    sizes = {family: len(grid(family)) for family in GRIDS}
    assert sizes.pop("transcoder") == 27
    assert sorted(sizes.values()) == [9, 9, 9, 9, 9, 27, 27] and sum(sizes.values()) == 99
    with pytest.raises(UserError, match="Did you mean topk_sae"):
        grid("topk")


def test_equation_nine_at_known_points() -> None:
    scores = selection_scores([0.9, 0.5, 0.7], [100, 10, 55])
    np.testing.assert_allclose(scores, [0.5, 0.5, 0.5])
    np.testing.assert_allclose(selection_scores([0.9, 0.5, 0.9], [100, 10, 10]), [0.5, 0.5, 1.0])


def test_degenerate_terms() -> None:
    np.testing.assert_allclose(selection_scores([0.2, 0.4], [20, 20]), [0.5, 1.0])
    np.testing.assert_allclose(selection_scores([0.2, 0.4], [20.0, 20.1], fixed_l0=True), [0.5, 1.0])
    np.testing.assert_allclose(selection_scores([0.3], [20]), [1.0])
    found = selection_scores([0.2, float("nan"), 0.4], [10, 20, 10])
    assert np.isnan(found[1]) and found[2] > found[0]
    assert len(selection_scores([], [])) == 0


def test_the_pick_at_a_target() -> None:
    assert pick_at_target([0.1, 0.5, 0.9], [18, 22, 40], 20) == 1
    assert pick_at_target([0.1, 0.9], [5, 100], 20) == 0
    assert pick_at_target([float("nan")], [20], 20) is None


def test_noise_in_a_fixed_l0_does_not_choose() -> None:
    found = candidates_of("batchtopk_sae", [{"a": 1}, {"a": 2}], [0.80, 0.70], [20.3, 19.9], target_l0=20)
    assert [candidate.chosen for candidate in found] == [True, False]


def test_a_sweep_runs_resumes_and_draws(photo_folder: Path, tmp_path: Path) -> None:
    suite = parse_suite(
        {
            "name": "tiny",
            "data": {"dataset": f"folder:{photo_folder}", "evaluation": 12},
            "evaluation": {"top_images": 4},
            "targets": [{"backbone": "tiny_vit"}],
            "methods": [{"name": "topk_sae", "config": {"k": 3, "batch_size": 32}}],
        }
    )
    overrides = {"epochs": 1, "expansion_factor": 2}
    found = sweep(suite, tmp_path / "r.duckdb", families=["topk_sae"], overrides=overrides, device="cpu")
    assert found.summary.finished == 9 and found.summary.failed == 0
    assert len(found.candidates) == 9 and sum(c.chosen for c in found.candidates) == 1
    assert len(found.charts) == 1 and found.charts[0].is_file()
    again = sweep(suite, tmp_path / "r.duckdb", families=["topk_sae"], overrides=overrides, device="cpu")
    assert again.summary.kept == 9 and again.candidates == found.candidates
