"""The training loop on a module whose losses and active units are known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from in_memory import small_layer
from torch import Tensor, nn

from methods.base import no_progress
from methods.tracing import Trace, tracing
from methods.training.batches import Batches
from methods.training.checkpoint import Checkpoint
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


class Stopped(Exception):
    pass


class OneToken(Known):
    """One of two units is active on a single token of the layer, the other never."""

    def __init__(self, rarest: Tensor) -> None:
        super().__init__()
        self.rarest = rarest

    def loss(self, *batch: Tensor) -> StepLoss:
        n = (batch[0] == self.rarest).all(1).sum()
        return super().loss(*batch)._replace(fires=torch.stack([n, torch.zeros_like(n)]))


@pytest.mark.parametrize("stop_at", [0, 1, 5, 6, 7, 8])
def test_units_are_silent_if_no_token_of_the_epoch_activates_them(tmp_path: Path, stop_at: int) -> None:
    """Whichever batch the token is in, and wherever the training is stopped and resumed."""
    _, tokens = small_layer(n=240)
    normaliser = Normaliser(tokens, "output")
    rarest = normaliser(tokens.fields["output"])[17]
    checkpoint = Checkpoint(tmp_path / "training.safetensors", every_seconds=0)

    def run(stop_at: int) -> list[EpochMetrics]:
        def progress(done: int, total: int, what: str) -> None:
            if done == stop_at:
                raise Stopped

        batches = Batches(tokens, ["output"], [normaliser], 60, seed=0)
        config = TrainingConfig(epochs=2, batch_size=60)
        return train(OneToken(rarest), batches, config, name="one", progress=progress, checkpoint=checkpoint)

    if stop_at:
        with pytest.raises(Stopped):
            run(stop_at)
    assert [(entry.step, entry.silent) for entry in run(0)] == [(4, 0.5), (8, 0.5)]


def test_a_checkpoint_without_what_the_loop_saves_is_not_taken(tmp_path: Path) -> None:
    module = nn.Linear(2, 2)
    checkpoint = Checkpoint(tmp_path / "training.safetensors")
    optimiser = torch.optim.Adam(module.parameters())
    checkpoint.save(module, optimiser, {"identity": {}})
    before = module.weight.detach().clone()
    with torch.no_grad():
        module.weight.add_(1)
    assert checkpoint.restore(module, optimiser, {}, ("fired",)) is None
    assert torch.equal(module.weight, before + 1)
    assert checkpoint.restore(module, optimiser, {}) == ({"identity": {}}, {})
    assert torch.equal(module.weight, before)


def logged(points: list[tuple[int, str, float]], checkpoint: Checkpoint | None = None, stop_at: int = 0) -> Any:
    """Train for three epochs of 120 steps and return the history; ``points`` receives what is logged."""
    _, tokens = small_layer(n=240)
    batches = Batches(tokens, ["output"], [Normaliser(tokens, "output")], 2, seed=0)
    config = TrainingConfig(epochs=3, batch_size=2, learning_rate=0.01)

    def progress(done: int, total: int, what: str) -> None:
        if done == stop_at:
            raise Stopped

    def on_metrics(step: int, values: Mapping[str, float]) -> None:
        points.extend((step, name, value) for name, value in values.items())

    return train(
        Known(), batches, config, name="known", progress=progress, checkpoint=checkpoint, on_metrics=on_metrics
    )


def test_metrics_are_passed_on_as_the_training_runs() -> None:
    """Each epoch at its end as in the curves; within it every 50 steps the mean loss of its batches so far."""
    points: list[tuple[int, str, float]] = []
    history = logged(points)
    epochs = [point for point in points if point[1] != "running_loss"]
    assert sorted((name, step, value) for step, name, value in epochs) == sorted(
        (name, step, value) for name, curve in curves_of(history).items() for step, value in curve
    )
    assert [step for step, name, _ in points if name == "running_loss"] == [50, 100, 150, 200, 250, 300, 350]
    assert [step for step, _, _ in points] == sorted(step for step, _, _ in points)
    trainee, seen = Known(), []
    loss = trainee.loss
    trainee.loss = lambda *batch: seen.append(loss(*batch)) or seen[-1]  # type: ignore[method-assign, func-returns-value]
    _, tokens = small_layer(n=240)
    batches = Batches(tokens, ["output"], [Normaliser(tokens, "output")], 2, seed=0)
    config = TrainingConfig(epochs=3, batch_size=2, learning_rate=0.01)
    assert train(trainee, batches, config, name="known", progress=no_progress) == history, "a log changes nothing"
    for step, name, value in points:
        if name == "running_loss":
            first = step // 120 * 120
            assert value == pytest.approx(
                sum(float(one.total.detach()) for one in seen[first:step]) / (step - first), rel=1e-5
            )


@pytest.mark.parametrize("stop_at", [1, 120, 121, 190, 359])
def test_a_resumed_training_logs_every_epoch_once(tmp_path: Path, stop_at: int) -> None:
    """The log of the process that ends a training is complete, and as that of one that was not stopped."""
    before: list[tuple[int, str, float]] = []
    expected: list[tuple[int, str, float]] = []
    points: list[tuple[int, str, float]] = []
    checkpoint = Checkpoint(tmp_path / "training.safetensors", every_seconds=0)
    with pytest.raises(Stopped):
        logged(before, checkpoint, stop_at)
    history = logged(points, checkpoint)
    assert history == logged(expected)
    epochs = [point for point in points if point[1] != "running_loss"]
    assert epochs == [point for point in expected if point[1] != "running_loss"]
    assert set(points) <= set(expected) and len(set(points)) == len(points)


def test_the_first_step_is_a_section_of_its_own() -> None:
    with tracing(Trace()) as trace:
        trained(Known(), epochs=2)
    calls = {key.name: count for key, count in trace.calls.items()}
    assert calls["first training step"] == 1 and calls["training steps"] == 7
