"""Doctor's disk space is that of the files which a run writes: counted and written bytes agree within 5 %."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cells.inputs import open_inputs
from harness.cells.plan import cells_of, prepare
from harness.doctor import estimate
from harness.doctor.environment import used_bytes
from harness.suites import Suite, each_leaf, load_suite, with_settings
from harness.suites.tiny import scaled


def written_bytes(suite: Suite, cache: Path) -> int:
    """Make the inputs of all targets as a run does, and return the size of the cache.

    Stored crops are left out: a run does without them if the disk has no room.
    """
    for leaf in suite.leaves:
        for prepared in prepare(leaf, device="cpu"):
            plans = [cell.plan for cell in cells_of(leaf, [prepared])]
            open_inputs(leaf, prepared, plans, cache)
    return used_bytes(cache) - used_bytes(cache / "crops")


def counted_bytes(suite: Suite) -> int:
    """Return the bytes that doctor counts, with the states, for which this disk has room."""
    estimated = estimate(suite)
    assert estimated.disk_bytes and estimated.state_bytes
    return estimated.disk_bytes + estimated.state_bytes


def without_fits(suite: Suite) -> Suite:
    """Return the suite with the unmodified network as its only method; files of the cache do not depend on methods."""

    def change(leaf: Suite) -> Suite:
        [identity, *_] = [entry for entry in load_suite("demo").methods if entry.name == "identity"]
        targets = tuple(target.model_copy(update={"methods": (identity,), "settings": {}}) for target in leaf.targets)
        return leaf.model_copy(update={"targets": targets})

    return each_leaf(suite, change)


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "dinov2_small_saliency"])
def test_layers_of_the_demo(tmp_path: Path, backbone: str) -> None:
    small = with_settings(load_suite("demo"), ["data.dataset=photos:24", "data.evaluation=8", "probing.crops=1"])
    targets = tuple(target for target in small.targets if target.backbone == backbone)
    suite = without_fits(small.model_copy(update={"targets": targets}))
    assert counted_bytes(suite) == pytest.approx(written_bytes(suite, tmp_path), rel=0.05)


@pytest.mark.slow
def test_the_paper_at_reduced_size(tmp_path: Path) -> None:
    suite = without_fits(scaled(load_suite("paper"), "tiny").suite)
    assert counted_bytes(suite) == pytest.approx(written_bytes(suite, tmp_path), rel=0.05)
