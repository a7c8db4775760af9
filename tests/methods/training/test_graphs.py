"""Replay of steps: what is noticed, what falls back, and what is released; with a recorder in place of a CUDA graph."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from in_memory import small_layer
from step_recorder import Recorder
from torch import Tensor, nn

from methods.base import no_progress
from methods.errors import ArgumentError, UserError
from methods.training import graphs, loop
from methods.training.batches import Batches
from methods.training.config import TrainingConfig
from methods.training.graphs import Steps, backend_for, largest_difference
from methods.training.loop import EpochMetrics, StepLoss, Trainee, train
from methods.training.normaliser import Normaliser


class Mean(Trainee):
    """A vector that learns the mean of the tokens, as a step on a GPU would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.zeros(6))
        self.register_buffer("seen", torch.zeros(()))

    def factor(self, x: Tensor) -> Tensor | float:
        return 1.0

    def loss(self, *batch: Tensor) -> StepLoss:
        (x,) = batch
        total = ((self.vector - x - 1) * self.factor(x)).square().mean()
        self.get_buffer("seen").add_(len(x))
        return StepLoss(total, total.detach().clone(), (x > 0).sum(0))


class ReadsBack(Mean):
    def factor(self, x: Tensor) -> float:
        return 1.0 + float(x[0, 0].abs())


class ReadsAfterItsStep(Mean):
    """When it reads, Adam has made its step."""

    @torch.no_grad()
    def project(self) -> None:
        self.vector.mul_(0.9)
        if float(self.vector.sum()) > 1e6:
            self.vector.zero_()


class TakesAMask(Mean):
    def factor(self, x: Tensor) -> Tensor:
        return 1.0 + x[x > 0].mean()


class BringsANumber(Mean):
    def factor(self, x: Tensor) -> Tensor:
        return torch.tensor(2.0)


class Counts(Mean):
    calls = 0

    def factor(self, x: Tensor) -> float:
        self.calls += 1
        return 1.0 + self.calls / 4


class Rebinds(Mean):
    """Its running mean is a new tensor after each step: a replay reads the one of the recording."""

    running: Tensor | float = 0.0

    def factor(self, x: Tensor) -> Tensor:
        self.running = 0.5 * self.running + x.detach().mean() + 1
        return self.running


class ReplacesABuffer(Mean):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running", torch.ones(()))

    def factor(self, x: Tensor) -> Tensor:
        self.running = 0.5 * self.get_buffer("running") + x.detach().mean() + 1
        return self.running


class KeepsATensor(Mean):
    """It counts its steps in place, in a tensor that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = torch.zeros(())

    def factor(self, x: Tensor) -> Tensor:
        self.idle.add_(1)
        return 1 + (self.idle > 8)


class Draws(Counts):
    """Beside a value that stays as it was recorded, random numbers, which hide it from a comparison."""

    def factor(self, x: Tensor) -> Tensor:
        return super().factor(x) * (1 + torch.rand(()))


class SaysSo(Mean):
    replayable = False


def trained(
    trainee: Trainee, backend: Any, monkeypatch: pytest.MonkeyPatch, **more: Any
) -> tuple[list[EpochMetrics], list[str]]:
    """Train for 3 epochs of 4 steps, the last of which is smaller."""
    monkeypatch.setattr(graphs, "backend_for", lambda device: backend)
    _, tokens = small_layer(n=200)
    batches = Batches(tokens, ["output"], [Normaliser(tokens, "output")], 60, seed=0)
    config = TrainingConfig(epochs=3, batch_size=60, learning_rate=0.1)
    notes: list[str] = []
    options = {"name": "mean", "progress": no_progress, "on_note": notes.append}
    return train(trainee, batches, config, **{**options, **more}), notes


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learning rates as a GPU rounds them, and recordings of short trainings."""
    exact = loop.learning_rate
    monkeypatch.setattr(loop, "learning_rate", lambda *args: float(torch.tensor(exact(*args), dtype=torch.float32)))
    monkeypatch.setattr(graphs, "LEAST_STEPS", 12)
    monkeypatch.setattr(graphs, "WARM_UP_STEPS", 3)


def test_what_does_not_change_between_steps_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """9 steps have the full batch: 3 are computed, and the first replay is compared with a computed step."""
    recorder, computed, replayed = Recorder(), Mean(), Mean()
    history, notes = trained(computed, None, monkeypatch)
    assert trained(replayed, recorder, monkeypatch) == (history, notes) == (history, [])
    assert torch.equal(replayed.vector, computed.vector)
    assert float(replayed.get_buffer("seen")) == float(computed.get_buffer("seen")) == 600
    assert (recorder.recordings, recorder.replays, recorder.freed) == (1, 6, 1)


@pytest.mark.parametrize(
    "kind, reason",
    [
        (ReadsBack, "Refused: _local_scalar_dense waits for the device"),
        (ReadsAfterItsStep, "Refused: _local_scalar_dense waits for the device"),
        (TakesAMask, "Refused: index by a mask waits for the device"),
        (BringsANumber, "Refused: lift_fresh copies numbers from the host"),
    ],
)
def test_what_cannot_be_recorded_is_computed_to_the_same_bits(
    kind: type[Mean], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, computed, tried = Recorder(), kind(), kind()
    history, _ = trained(computed, None, monkeypatch)
    again, notes = trained(tried, recorder, monkeypatch)
    assert again == history and torch.equal(tried.vector, computed.vector)
    assert float(tried.get_buffer("seen")) == 600, "the step that failed half-way is undone"
    assert notes == [
        "Each training step was computed operation by operation, because it cannot be replayed as a CUDA graph "
        f"({reason}). Results are the same; on a GPU it takes longer."
    ]
    assert (recorder.recordings, recorder.replays) == (0, 0)


@pytest.mark.parametrize("kind", [Counts, Rebinds, ReplacesABuffer])
def test_a_value_that_stays_as_it_was_recorded_is_noticed(kind: type[Mean], monkeypatch: pytest.MonkeyPatch) -> None:
    """The recording, which calls the module once more, does not count."""
    recorder, computed, tried = Recorder(), kind(), kind()
    history, _ = trained(computed, None, monkeypatch)
    again, notes = trained(tried, recorder, monkeypatch)
    assert len(notes) == 1 and "a replayed step differs from a computed one by" in notes[0]
    assert (recorder.recordings, recorder.replays, recorder.freed) == (1, 1, 1)
    assert again == history and torch.equal(tried.vector, computed.vector)


def test_a_tensor_that_is_no_buffer_belongs_to_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison makes two more steps, and undoes them."""
    recorder, computed, replayed = Recorder(), KeepsATensor(), KeepsATensor()
    history, notes = trained(computed, None, monkeypatch)
    assert trained(replayed, recorder, monkeypatch) == (history, notes) == (history, [])
    assert recorder.replays == 6 and float(replayed.idle) == float(computed.idle) == 12
    assert torch.equal(replayed.vector, computed.vector)


def test_steps_that_differ_by_chance_are_not_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        recorder = Recorder()
        _, notes = trained(Draws(), recorder, monkeypatch)
    assert len(notes) == 1 and "two computed steps by 0." in notes[0]
    assert recorder.freed == 1


def test_the_step_that_differs_is_the_computed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay that does nothing leaves no trace."""

    class Idle(Recorder):
        def replay(self) -> None:
            self.replays += 1

    recorder, computed, tried = Idle(), Mean(), Mean()
    history, _ = trained(computed, None, monkeypatch)
    again, notes = trained(tried, recorder, monkeypatch)
    assert len(notes) == 1 and recorder.replays == 1
    assert again == history and torch.equal(tried.vector, computed.vector)


def test_an_error_in_the_first_replay_leaves_the_computed_step(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Recorder):
        def replay(self) -> None:
            super().replay()
            raise RuntimeError("no more")

    recorder, computed, tried = Broken(), Mean(), Mean()
    history, _ = trained(computed, None, monkeypatch)
    again, notes = trained(tried, recorder, monkeypatch)
    assert len(notes) == 1 and "(RuntimeError: no more)" in notes[0]
    assert again == history and torch.equal(tried.vector, computed.vector)


def test_a_module_may_say_that_its_steps_are_not_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    _, notes = trained(SaysSo(), recorder, monkeypatch)
    assert notes == [] and (recorder.recordings, recorder.replays) == (0, 0)


def test_a_short_training_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "LEAST_STEPS", 13)
    recorder = Recorder()
    trained(Mean(), recorder, monkeypatch)
    assert recorder.recordings == 0


def test_a_training_that_stops_releases_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(done: int, total: int, what: str) -> None:
        if done == 8:
            raise UserError("stopped")

    recorder = Recorder()
    with pytest.raises(UserError, match="stopped"):
        trained(Mean(), recorder, monkeypatch, progress=stop)
    assert (recorder.recordings, recorder.freed) == (1, 1)


def test_a_loss_that_is_not_finite_is_seen_in_replayed_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parameter becomes NaN while steps are replayed, as it would with a learning rate that is too high."""
    trainee, recorder = Mean(), Recorder()

    def spoil(done: int, total: int, what: str) -> None:
        if done == 6:
            trainee.vector.data[0] = float("nan")

    with pytest.raises(UserError, match="mean: the loss is nan after 8 steps"):
        trained(trainee, recorder, monkeypatch, progress=spoil)
    assert recorder.replays > 1


def test_the_learning_rate_of_a_replayed_step_follows_its_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a gradient of constant sign, Adam's first steps move a parameter by the learning rate."""

    class Slope(Mean):
        def loss(self, *batch: Tensor) -> StepLoss:
            total = self.vector.sum()
            return StepLoss(total, total.detach().clone(), torch.ones_like(self.vector))

    trainee, places = Slope(), [0.0]
    config = TrainingConfig(epochs=3, batch_size=60, learning_rate=0.1)
    trained(trainee, Recorder(), monkeypatch, progress=lambda *_: places.append(float(trainee.vector.detach()[0])))
    moves = [before - after for before, after in pairwise(places)]
    assert moves == pytest.approx([loop.learning_rate(step, 12, config) for step in range(12)], rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("noise, trusted", [(0.0, True), (1e-6, True), (1e-6, False)])
def test_a_replay_may_differ_as_two_computed_steps_do(noise: float, trusted: bool) -> None:
    """Random numbers stand for sums in any order; a replay whose noise is a hundred times larger is not trusted."""
    scale = torch.tensor(noise)

    class Louder(Recorder):
        def replay(self) -> None:
            scale.mul_(1 if trusted else 100)
            super().replay()

    total, notes, recorder = torch.zeros(1000), [], Louder()

    def step(x: Tensor) -> tuple[Tensor]:
        total.add_(x + scale * torch.rand(1000, generator=generator))
        return (total.sum(),)

    generator = torch.Generator().manual_seed(0)
    steps = Steps(step, lambda: [total], nn.Module(), recorder, note=notes.append)
    for _ in range(8):
        steps(torch.ones(1000))
    assert [len(notes), recorder.replays] == ([0, 5] if trusted else [1, 1])


def test_steps_of_another_shape_are_computed_between_replays() -> None:
    total, recorder = torch.zeros(()), Recorder()
    shapes: list[int] = []

    def step(x: Tensor) -> tuple[Tensor]:
        shapes.append(len(x))
        total.add_(x.sum())
        return (x.max(),)

    steps = Steps(step, lambda: [total], nn.Module(), recorder, note=lambda note: pytest.fail(note))
    expected = 0.0
    for number in range(12):
        x = torch.full((2 if number % 4 == 3 else 3,), float(number))
        expected += float(x.sum())
        assert float(steps(x)[0]) == number
        assert float(total) == expected
    # Three computed, one of them recorded, and the first replay compared: 0, 1, 2, recording, 3, 4 twice, 7, 11.
    assert shapes == [3, 3, 3, 3, 2, 3, 3, 2, 2]
    assert recorder.replays == 6
    steps.close()
    assert float(steps(torch.ones(3))[0]) == 1, "computed after the graph is released"


def test_differences_are_relative_to_the_change() -> None:
    before, after = [torch.tensor([1e6, 1e6])], [torch.tensor([1e6 + 8, 1e6])]
    assert largest_difference(after, after, before) == 0
    assert largest_difference(after, [torch.tensor([1e6 + 6, 1e6])], before) == pytest.approx(0.25)
    assert largest_difference(before, after, before) == float("inf"), "changed where nothing may change"
    nan = [torch.tensor([float("nan"), 1.0])]
    assert largest_difference(nan, nan, before) == 0
    assert largest_difference(nan, after, before) == largest_difference(after, nan, before) == float("inf")
    infinite = [torch.tensor([float("inf"), 1.0])]
    assert largest_difference(infinite, infinite, before) == 0
    assert largest_difference(after, infinite, before) == float("inf")


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_only_a_gpu_has_a_recorder(device: str) -> None:
    assert backend_for(torch.device(device)) is None


def test_the_environment_turns_graphs_off(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 0)
    monkeypatch.delenv(graphs.VARIABLE, raising=False)
    assert backend_for(gpu) is not None
    monkeypatch.setenv(graphs.VARIABLE, "off")
    assert backend_for(gpu) is None
    monkeypatch.setenv(graphs.VARIABLE, "auto")
    assert backend_for(gpu) is not None
    monkeypatch.setenv(graphs.VARIABLE, "of")
    with pytest.raises(ArgumentError, match="HARNESS_TRAINING_GRAPHS is 'of'; it must be one of 'auto', 'off'"):
        backend_for(gpu)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", [ReadsBack, ReadsAfterItsStep, TakesAMask, Counts, Rebinds, ReplacesABuffer])
def test_on_a_gpu_what_cannot_be_replayed_is_computed(kind: type[Mean], monkeypatch: pytest.MonkeyPatch) -> None:
    """Afterwards the process still records, and the allocator serves all streams."""
    for module, wanted in ((kind(), 1), (Mean(), 0)):
        _, tokens = small_layer(n=200)
        batches = Batches(tokens, ["output"], [Normaliser(tokens, "output")], 60, seed=0, device="cuda")
        config = TrainingConfig(epochs=3, batch_size=60, learning_rate=0.1)
        notes: list[str] = []
        train(module.to("cuda"), batches, config, name="mean", progress=no_progress, on_note=notes.append)
        assert len(notes) == wanted, notes
