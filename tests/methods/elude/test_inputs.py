"""Inputs of a fit's tokens: the same numbers from the token set and from a copy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from in_memory import MemorySite, MemoryTokens, small_layer

import methods
from methods.elude import inputs as module
from methods.elude.inputs import Inputs

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def layer() -> tuple[MemorySite, MemoryTokens]:
    return small_layer()


class Stored:
    """Tokens that are stored in float16."""

    def __init__(self, tokens: MemoryTokens) -> None:
        self.half = tokens.gather("input", np.arange(tokens.n)).half()
        self.n, self.read = tokens.n, 0

    def width(self, field: str) -> int:
        return self.half.shape[1]

    def stored(self, field: str, start: int, stop: int) -> torch.Tensor:
        self.read += stop - start
        return self.half[start:stop]

    def gather(self, field: str, rows: np.ndarray) -> torch.Tensor:
        return self.half[torch.from_numpy(rows)].float()


def with_copy(tokens: object, monkeypatch: pytest.MonkeyPatch, free: int | None) -> Inputs:
    """Return inputs as a device other than the CPU would have them, whose free memory is given."""
    monkeypatch.setattr(module, "free_memory", lambda device: free)
    inputs = Inputs(tokens, [CPU], 0)  # type: ignore[arg-type]
    copy = inputs._copied_to(CPU, 1000)
    if copy is not None:
        inputs._copies[CPU] = copy
    return inputs


@pytest.mark.parametrize("stored", [False, True])
def test_the_same_rows(layer, monkeypatch: pytest.MonkeyPatch, stored: bool) -> None:
    tokens = Stored(layer[1]) if stored else layer[1]
    monkeypatch.setattr(module, "COPIED_ENTRIES", 7 * tokens.width("input"))
    inputs = with_copy(tokens, monkeypatch, 1 << 30)
    assert inputs._copies[CPU].dtype == (torch.float16 if stored else torch.float32)
    for rows in (np.arange(tokens.n), np.array([5, 3, 3, 0]), np.array([], dtype=np.int64)):
        there, here = inputs.gather(rows, CPU), tokens.gather("input", rows)
        assert there.dtype == torch.float32 and torch.equal(there, here)
    if stored:
        assert tokens.read <= tokens.n + 1, "each row is read once"


def test_a_copy_is_made_if_the_lanes_leave_room_for_it(layer, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = layer[1]
    size = 4 * tokens.n * tokens.width("input")
    assert with_copy(tokens, monkeypatch, int(1000 + size / module.SHARE) + 1)._copies
    assert not with_copy(tokens, monkeypatch, int(1000 + size / module.SHARE) - 1)._copies
    assert not with_copy(tokens, monkeypatch, None)._copies


def test_memory_that_runs_out_after_all(layer, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*sizes: object, **options: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch, "empty", full)
    assert not with_copy(layer[1], monkeypatch, 1 << 30)._copies


def test_a_copy_gives_way_if_memory_runs_out_later(layer, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = with_copy(layer[1], monkeypatch, 1 << 30)
    full = torch.OutOfMemoryError("CUDA out of memory.")
    assert not inputs.give_way(ValueError("another error"), CPU) and inputs._copies
    assert inputs.give_way(full, CPU) and not inputs._copies
    rows = np.arange(5)
    assert torch.equal(inputs.gather(rows, CPU), layer[1].gather("input", rows))
    # Another lane may have begun with the copy, and is to try again as well.
    assert inputs.give_way(full, CPU)
    assert not Inputs(layer[1], [CPU], 0).give_way(full, CPU), "there was no copy"


def test_a_neuron_is_split_again_without_the_copy(layer, monkeypatch: pytest.MonkeyPatch) -> None:
    site, tokens = layer
    settings = {"top_k": 60, "min_cluster_size": 8}
    expected = methods.create("elude", **settings).fit(tokens, site, workers=1)
    plain, tried = module.Inputs.gather, []

    def gather(self: Inputs, rows: np.ndarray, device: torch.device) -> torch.Tensor:
        tried.append(bool(self._copies))
        if self._copies:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return plain(self, rows, device)

    monkeypatch.setattr(module.Inputs, "gather", gather)
    made = module.Inputs.__init__

    def with_a_copy(self: Inputs, tokens: MemoryTokens, lanes: list[torch.device], lane_bytes: int) -> None:
        made(self, tokens, lanes, lane_bytes)
        self._copies[CPU] = torch.zeros(1)

    monkeypatch.setattr(module.Inputs, "__init__", with_a_copy)
    fitted = methods.create("elude", **settings).fit(tokens, site, workers=1)
    assert tried[0] and not any(tried[1:]) and len(tried) > site.d_out
    assert torch.equal(fitted.weights, expected.weights)


def test_a_cpu_needs_no_copy(layer) -> None:
    assert not Inputs(layer[1], [CPU, CPU], 0)._copies
