"""States before the site: kept if the disk has room for all of them beside other files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from harness.activations import prefix_cache
from harness.activations.prefix_cache import Cut, States, StateWriter

#: 5 images of 3 x 4 float32.
SIZE = 5 * 3 * 4 * 4


@pytest.fixture
def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 4))


def recorded(model: nn.Sequential, file: Path, spare: int) -> tuple[int, ...] | None:
    writer = StateWriter(Cut(model[0], ()), 5, file, spare)
    images = torch.arange(30.0).view(5, 3, 2)
    for batch in images.split(2):
        with torch.inference_mode(), writer.recording():
            model(batch)
    return writer.finish()


@pytest.mark.parametrize(("free", "spare", "kept"), [(SIZE, 0, True), (SIZE + 9, 10, False), (SIZE + 10, 10, True)])
def test_states_are_kept_if_the_disk_has_room(
    model: nn.Sequential, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, spare: int, kept: bool
) -> None:
    monkeypatch.setattr(prefix_cache, "shutil", SimpleNamespace(disk_usage=lambda path: SimpleNamespace(free=free)))
    file = tmp_path / "states.f32"
    shape = recorded(model, file, spare)
    assert (shape is not None) == file.exists() == kept
    if shape is not None:
        assert shape == (5, 3, 4) and file.stat().st_size == SIZE
        states = States(file, shape, Cut(model[0], ()))
        expected = model(torch.arange(30.0).view(5, 3, 2)).detach()
        ranges = [range(1, 3), range(4, 5), range(0, 2)]
        for images, state in zip(ranges, states.read(ranges), strict=True):
            with torch.inference_mode(), states.resumed(state):
                resumed = model(torch.zeros(len(images), 3, 2))
            np.testing.assert_array_equal(resumed.numpy(), expected[images.start : images.stop].numpy())


def test_states_above_the_limit_are_not_kept(
    model: nn.Sequential, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefix_cache, "SIZE_LIMIT", SIZE - 1)
    assert recorded(model, tmp_path / "states.f32", 0) is None and not list(tmp_path.iterdir())
