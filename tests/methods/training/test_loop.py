"""The training loop on a module whose losses and active units are known."""

from __future__ import annotations

import pytest
import torch
from in_memory import small_layer
from torch import Tensor, nn

from methods.base import no_progress
from methods.training.batches import Batches
from methods.training.config import TrainingConfig
from methods.training.loop import EpochMetrics, StepLoss, Trainee, curves_of, train
from methods.training.normaliser import Normaliser


class Known(Trainee):
    """A vector of length 1 that is minimised to a target; of four units, two are active on half of the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.tensor([3.0, 4.0]))
        self.lengths: list[float] = []

    def loss(self, *batch: Tensor) -> StepLoss:
        self.lengths.append(float(self.vector.detach().norm()))
        total = (self.vector - torch.tensor([1.0, 0.0])).square().sum()
        half = len(batch[0]) // 2
        return StepLoss(total, total.detach() * 0 + 0.25, torch.tensor([0, half, 0, half]))

    @torch.no_grad()
    def project(self) -> None:
        self.vector.div_(self.vector.norm())


def trained(trainee: Trainee, epochs: int = 2) -> list[EpochMetrics]:
    _, tokens = small_layer(n=240)
    batches = Batches(tokens, ["output"], [Normaliser(tokens, "output")], 60, seed=0)
    config = TrainingConfig(epochs=epochs, batch_size=60, learning_rate=0.1)
    return train(trainee, batches, config, name="known", progress=no_progress)


def test_the_curves_have_one_point_per_epoch() -> None:
    """Four batches of 60 tokens per epoch; two of four units are active on 30 tokens each, and two are dead."""
    curves = curves_of(trained(Known()))
    assert [step for step, _ in curves["loss"]] == [4, 8]
    assert curves["dead"] == [(4, 0.5), (8, 0.5)]
    assert curves["l0"] == [(4, 1.0), (8, 1.0)]
    assert curves["training_r2"] == [(4, 0.75), (8, 0.75)]


def test_parameters_satisfy_their_constraint_at_the_first_step_and_after_the_last() -> None:
    trainee = Known()
    history = trained(trainee)
    assert trainee.lengths == pytest.approx([1] * 8)
    assert float(trainee.vector.detach().norm()) == pytest.approx(1)
    assert history[1].loss < history[0].loss
