"""Baselines on disk: two processes that measure the same one at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from harness.activations import baseline
from harness.activations.heads.base import Head
from harness.activations.site import Site
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
            site = Site(passes.backbone.model, passes.site.path)
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
