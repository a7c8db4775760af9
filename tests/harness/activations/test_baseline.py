"""Baselines on disk: two processes that measure the same one at once, and the outcomes of the floors."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.activations import baseline
from harness.activations.heads.base import Head
from harness.activations.linear_site import LinearLayerSite
from harness.check.world import small_world


def test_another_process_that_finishes_first_with_a_slightly_different_probe_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last bits of a probe differ between numbers of threads and devices."""
    with small_world() as world:
        passes = world.baseline.passes
        mine = world.baseline.head
        theirs = dataclasses.replace(mine, weight=mine.weight * (1 + 1e-6))
        assert theirs.fingerprint() != mine.fingerprint()

        def make(head: Head) -> baseline.Baseline:
            site = LinearLayerSite(passes.backbone.model, passes.site.path)
            return baseline.make_baseline(
                passes.backbone, site, passes.images, head, tmp_path, top_images=6, head_identity="h", batch_size=4
            )

        plain_write, first = baseline.BaselinePasses.write, []

        def write(self: baseline.BaselinePasses, folder: Path, dtype: str) -> None:
            plain_write(self, folder, dtype)
            if not first:
                first.append(folder)
                make(theirs)

        monkeypatch.setattr(baseline.BaselinePasses, "write", write)
        made = make(mine)
        assert torch.equal(made.head.weight, mine.weight) and made.n_images == world.baseline.n_images
        # A cached baseline of another head is measured again.
        assert len(first) == 1
        monkeypatch.setattr(baseline.BaselinePasses, "write", plain_write)
        assert make(mine).n_images == made.n_images


def test_the_outcomes_of_the_images_give_the_floors() -> None:
    with small_world() as world:
        made = world.baseline
        labels = made.head.targets(torch.from_numpy(made.images.labels)).numpy()
        assert list(made.floor_outcomes) == list(made.floors) == ["original", "zero", "mean"]
        for name, floor in made.floors.items():
            outcomes = made.floor_outcomes[name]
            assert outcomes.right[labels >= 0].mean() == pytest.approx(floor.accuracy)
            assert outcomes.unchanged.mean() == pytest.approx(floor.agreement)
        clean = made.clean_logits(torch.from_numpy(made.index)).argmax(1).numpy()
        assert made.floor_outcomes["original"].right.tolist() == (clean == labels).tolist()
        assert made.floor_outcomes["original"].unchanged.all()


def test_outcomes_of_unreadable_images_are_false(tmp_path: Path) -> None:
    np.savez(tmp_path / "outcomes.npz", mean=np.ones((2, 3), dtype=bool))
    outcomes = baseline._floor_outcomes(tmp_path / "outcomes.npz", ["mean"], np.array([0, 2, 4]), 5)
    assert outcomes["mean"].right.tolist() == outcomes["mean"].unchanged.tolist() == [True, False, True, False, True]
