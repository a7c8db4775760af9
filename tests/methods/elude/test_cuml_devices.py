"""Lanes of several GPUs call cuML on their own: here modules without a GPU record the current device."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from methods.elude import clustering, lanes, reduction
from methods.elude.clustering import ClusteringOptions
from methods.elude.lanes import Lane, side_by_side

OPTIONS = ClusteringOptions(3, 5, "leaf", 0.0, 1 << 20, False, "auto", None)
GPUS = [torch.device("cuda", number) for number in range(3)]


class Points:
    """Stands in for a tensor on a device; :meth:`to` moves it, as ``cuda()`` to the thread's current device would."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def to(self, device: torch.device) -> Points:
        return self if device == self.device else Points(torch.device("cuda", CURRENT.number))

    cuda = contiguous = lambda self: self.to(torch.device("cuda", CURRENT.number))


class _Current(threading.local):
    """Current device of each thread; the first GPU in a new one, as in CUDA."""

    number = 0


CURRENT = _Current()


@contextmanager
def current_device(device: torch.device) -> Iterator[None]:
    before, CURRENT.number = CURRENT.number, CURRENT.number if device.index is None else device.index
    try:
        yield
    finally:
        CURRENT.number = before


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Return (what, current device, device of the points) of each call of the stand-ins."""
    seen: list[tuple[str, int, int]] = []

    class Model:
        labels_, probabilities_, cluster_persistence_ = np.array([0, -1]), np.array([1.0, 0.0]), np.array([0.5])

        def __init__(self, **settings: Any) -> None:
            seen.append(("model", CURRENT.number, -1))

        def fit(self, points: Points) -> Model:
            seen.append(("fit", CURRENT.number, points.device.index))
            return self

        def fit_transform(self, points: Points) -> np.ndarray:
            self.fit(points)
            return np.zeros((2, 2), np.float32)

    modules = {
        name: ModuleType(name) for name in ("cupy", "cuml", "cuml.cluster", "cuml.cluster.hdbscan", "cuml.manifold")
    }
    modules["cupy"].from_dlpack = lambda points: points  # type: ignore[attr-defined]
    modules["cuml.cluster.hdbscan"].HDBSCAN = modules["cuml.manifold"].UMAP = Model  # type: ignore[attr-defined]
    for name, stand_in in modules.items():
        monkeypatch.setitem(sys.modules, name, stand_in)
    monkeypatch.setattr(torch.cuda, "device", current_device)
    monkeypatch.setattr(lanes, "with_streams", lambda devices: [Lane(device, None, None) for device in devices])
    return seen


@pytest.mark.parametrize(
    "call",
    [
        lambda points: clustering._cuml(points, OPTIONS),
        lambda points: reduction._cuml(points, {}),
    ],
    ids=["HDBSCAN", "UMAP"],
)
@pytest.mark.parametrize("devices", [GPUS, GPUS[1:2]], ids=["three GPUs", "the second one alone"])
def test_each_lane_calls_cuml_on_its_own_gpu(
    calls: list[tuple[str, int, int]], call: Callable[[Any], Any], devices: list[torch.device]
) -> None:
    barrier = threading.Barrier(len(devices))

    def work(item: int, device: torch.device) -> int:
        barrier.wait(timeout=60)  # all lanes at once, so that each has an item
        call(Points(device))
        return int(device.index)

    done = sorted(side_by_side(work, iter(range(len(devices))), devices))
    assert done == [device.index for device in devices]
    for what, point_device in (("model", False), ("fit", True)):
        found = sorted((at, of) for name, at, of in calls if name == what)
        assert found == [(index, index if point_device else -1) for index in done]
    assert CURRENT.number == 0


def test_points_on_the_cpu_are_moved_to_the_current_gpu(calls: list[tuple[str, int, int]]) -> None:
    with current_device(GPUS[2]):
        clustering._cuml(Points(torch.device("cpu")), OPTIONS)  # type: ignore[arg-type]
    assert calls == [("model", 2, -1), ("fit", 2, 2)]
