"""The recorder that stands for a CUDA graph in tests: it refuses what a graph refuses, and repeats all else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from step_recorder import Recorder, Refused, Strict
from torch import Tensor


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: x.nonzero(),
        lambda x: x.masked_select(x > 0),
        lambda x: x[x > 0],
        lambda x: x.index_put_((x > 0,), torch.zeros(())),
        lambda x: x.unique(),
        lambda x: torch.bincount(x.long()),
        lambda x: torch.equal(x, x),
        lambda x: x.repeat_interleave(x.long()),
        lambda x: torch.tensor(1.0) + x,
    ],
)
def test_the_recorder_refuses_what_a_cuda_graph_refuses(operation: Callable[[Tensor], object]) -> None:
    x = torch.tensor([1.0, 0.0, 2.0])
    with pytest.raises(Refused), Strict():
        operation(x)
    with pytest.raises(Refused):
        Recorder().record(lambda: operation(x) and None)
    assert x.tolist() == [1.0, 0.0, 2.0]


def test_a_recording_computes_nothing_and_a_replay_everything() -> None:
    recorder, x, total = Recorder(), torch.tensor([1.0, 2.0]), torch.zeros(2)
    made: list[Tensor] = []

    def step() -> None:
        doubled = x * 2
        total.view(1, 2)[0].add_(doubled)
        made.append(doubled.view(2, 1))

    recorder.record(step)
    assert total.tolist() == [0, 0] and bool(made[0].isnan().all())
    recorder.replay()
    x.copy_(torch.tensor([5.0, 6.0]))
    recorder.replay()
    assert total.tolist() == [12, 16] and made[0].tolist() == [[10], [12]]
