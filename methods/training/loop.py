"""Training loop of all trained methods: Adam, warm-up and cosine, clipping, seeded batches."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from methods.base import OnMetrics, Progress, no_metrics
from methods.errors import UserError
from methods.memory import is_out_of_memory
from methods.tracing import DEVICE, section, traced
from methods.training import graphs
from methods.training.batches import Batches
from methods.training.checkpoint import Checkpoint
from methods.training.config import TrainingConfig

#: Number of steps after which the loss is read back from the device and checked, as at the end of each epoch.
CHECK_EVERY = 50


class StepLoss(NamedTuple):
    """Results of one batch, as tensors on the device: creating them does not wait for it.

    Those that the loop keeps are detached, and may be overwritten by the next step.
    """

    total: Tensor
    """() value that is minimised"""
    error: Tensor
    """() mean squared error in normalised space: 1 is the mean predictor"""
    fires: Tensor
    """(n_units,) number of tokens of the batch in which each unit is active"""


class Trainee(nn.Module):
    """Module with its own loss, and a projection after each step.

    On a GPU, ``loss`` and ``project`` are recorded once and then replayed (:mod:`methods.training.graphs`): what
    changes from step to step must be a parameter or buffer that is changed in place, and no value may be read back. A
    module for which this is not true is noticed in its first steps, and its steps are computed.
    """

    replayable: bool = True
    """False: steps are computed as long as it is, e.g. because a Python value changes between them"""

    @abstractmethod
    def loss(self, *batch: Tensor) -> StepLoss:
        """Return the loss of one batch of normalised tokens, one (m, width) tensor per field."""

    def schedule(self, step: int, total: int) -> None:
        """Set what follows from the number of the step, from 0; called before each step, and with total at the end.

        It is not replayed: a step reads the result from a buffer that is filled here, or :attr:`replayable` is False.
        """

    def adjust_gradients(self) -> None:
        """Change the gradients after the backward pass, before they are clipped."""

    def project(self) -> None:
        """Project the parameters onto their constraints; called before the first step and after each step."""

    def settle(self, batches: Batches) -> None:
        """Compute what is measured with the final weights; called at the end of training."""


class EpochMetrics(NamedTuple):
    """Metrics at the end of an epoch."""

    step: int
    loss: float
    """mean over the epoch's batches"""
    error: float
    """mean squared error in normalised space, mean over the epoch's batches; 1 minus it is an R2 in training"""
    l0: float
    """active units per token in the epoch's last batch"""
    dead: float
    """share of units that are inactive on all tokens of the epoch's last batch"""
    silent: float | None = None
    """share of units that are inactive on all tokens of the epoch; None in fits of before it was counted"""

    def values(self) -> dict[str, float]:
        """Return series -> value, as in :func:`curves_of`."""
        return {"loss": self.loss, "training_r2": 1.0 - self.error, "l0": self.l0, "dead": self.dead}


def curves_of(history: Sequence[EpochMetrics]) -> dict[str, list[tuple[int, float]]]:
    """Return the history of a training as curves: "loss", "training_r2", "l0" and "dead", one point per epoch."""
    return {
        series: [(entry.step, entry.values()[series]) for entry in history]
        for series in ("loss", "training_r2", "l0", "dead")
    }


def learning_rate(step: int, total: int, config: TrainingConfig) -> float:
    """Return the rate of a step, from 0: linear rise over ``warmup_fraction`` of the steps, then a cosine to zero."""
    warmup = max(1, round(total * config.warmup_fraction))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def clip_gradients(parameters: Sequence[nn.Parameter], longest: float, *, read: bool) -> None:
    """Scale the gradients such that the norm of all of them is at most ``longest``.

    Args:
        read: whether the norm may be read, which a GPU is waited for: a factor of 1 then saves a pass over all.
    """
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if not read or not longest / (float(norm) + 1e-6) >= 1:
        nn.utils.clip_grads_with_norm_(parameters, longest, norm)


def uses_bfloat16(config: TrainingConfig, device: torch.device) -> bool:
    """Return whether products are computed in bfloat16 (parameters and moments stay in float32)."""
    if config.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return config.precision == "bfloat16"


def train(
    trainee: Trainee,
    batches: Batches,
    config: TrainingConfig,
    *,
    name: str,
    progress: Progress,
    checkpoint: Checkpoint | None = None,
    on_metrics: OnMetrics = no_metrics,
    on_note: Callable[[str], None] = lambda note: None,
) -> list[EpochMetrics]:
    """Minimise ``trainee.loss`` over its parameters.

    Within an epoch the device is waited for only every :data:`CHECK_EVERY` steps, when the loss is checked. A run of
    the same identity that ``checkpoint`` contains is resumed.

    ``on_metrics`` receives the metrics of each epoch at its end, those before a resumed run's start included, and at
    each check within an epoch ``running_loss``, the mean over the epoch's batches so far. ``on_note`` receives a
    sentence if steps cannot be replayed (:mod:`methods.training.graphs`).

    Raises:
        UserError: as soon as a loss that is not finite is seen, naming the settings.
    """
    return _Run(trainee, batches, config, name, progress, checkpoint, on_metrics, on_note).go()


@dataclass
class _Run:
    trainee: Trainee
    batches: Batches
    config: TrainingConfig
    name: str
    progress: Progress
    checkpoint: Checkpoint | None
    on_metrics: OnMetrics
    on_note: Callable[[str], None]
    step: int = 0
    history: list[EpochMetrics] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.parameters = [parameter for parameter in self.trainee.parameters() if parameter.requires_grad]
        device = self.batches.device
        self.backend = graphs.backend_for(device)
        # On a GPU also without graphs: it is rounded to float32, and graphs must not change a number.
        on_device = self.backend is not None or device.type == "cuda"
        self.rate = torch.zeros((), device=device) if on_device else None
        """learning rate of the step, if it must be on the device"""
        self.reads = self.rate is None
        """whether values may be read back within a step: nothing waits for them"""
        # The fused form makes one pass over the parameters where the default makes ten.
        self.optimiser = torch.optim.Adam(
            self.parameters, lr=self.config.learning_rate, fused=True, capturable=self.rate is not None
        )
        self.total = self.batches.per_epoch * self.config.epochs
        self.sums = torch.zeros(2, device=device)
        """loss and error, summed over the epoch's batches so far"""
        self.fired: Tensor | None = None
        """(n_units,) bool: units that were active on a token of the epoch so far; None before the first step"""
        low = uses_bfloat16(self.config, device)
        self.amp = torch.autocast(device.type, torch.bfloat16, enabled=low, cache_enabled=False)

    @property
    def identity(self) -> dict[str, Any]:
        """Return the values that must agree for a saved run to be this one."""
        return {
            "name": self.name,
            "config": self.config.model_dump(mode="json"),
            "seed": self.batches.seed,
            "n": self.batches.n,
            "shapes": {name: list(value.shape) for name, value in self.trainee.state_dict().items()},
            "scales": [normaliser.scale for normaliser in self.batches.normalisers],
        }

    def go(self) -> list[EpochMetrics]:
        self.trainee.train()
        self.trainee.project()
        self._resume()
        steps = graphs.Steps(
            self._update,
            self._state,
            self.trainee,
            self.backend if self.total - self.step >= graphs.LEAST_STEPS else None,
            note=self.on_note,
            raises=lambda error: is_out_of_memory(error) and self.batches.are_on_device,
        )
        try:
            self._train(steps)
        finally:
            steps.close()
        self.trainee.schedule(self.total, self.total)
        self._check_parameters()
        if self.checkpoint is not None:
            self.checkpoint.clear()
        self.trainee.eval()
        return self.history

    def _train(self, steps: graphs.Steps[StepLoss]) -> None:
        per_epoch, start = self.batches.per_epoch, self.step
        for epoch in range(self.step // per_epoch, self.config.epochs):
            for batch in self.batches.epoch(epoch, skip=self.step - epoch * per_epoch):
                # The first step compiles and allocates, so it takes longer than the others.
                with section("first training step" if self.step == start else "training steps", DEVICE):
                    last = self._train_step(steps, batch)
                if self.step % CHECK_EVERY == 0:
                    loss = self._checked_loss()
                    if within := self.step % per_epoch:
                        self.on_metrics(self.step, {"running_loss": loss / within})
                # The end of an epoch is saved after its metrics are recorded, below.
                if self.step % per_epoch:
                    self._save_if_due()
            self._note_epoch(last, len(batch[0]))
            self._save_if_due()

    def _train_step(self, steps: graphs.Steps[StepLoss], batch: tuple[Tensor, ...]) -> StepLoss:
        rate = learning_rate(self.step, self.total, self.config)
        if self.rate is not None:
            self.rate.fill_(rate)
        for group in self.optimiser.param_groups:
            group["lr"] = rate if self.rate is None else self.rate
        self.trainee.schedule(self.step, self.total)
        losses = steps(*batch) if self.trainee.replayable else self._update(*batch)
        self.step += 1
        self.progress(self.step, self.total, "training steps")
        return losses

    def _update(self, *batch: Tensor) -> StepLoss:
        """Change parameters, averages and sums by one step; only by operations on the device, for it is replayed."""
        # A step that failed half-way may have left gradients; those of a finished one are freed below.
        self.optimiser.zero_grad(set_to_none=True)
        with self.amp:
            losses = self.trainee.loss(*batch)
        losses.total.backward()
        self.trainee.adjust_gradients()
        clip_gradients(self.parameters, self.config.clip_norm, read=self.reads)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.trainee.project()
        # Detached, so that nothing of this step's graph of derivatives is left when another step is recorded.
        kept = StepLoss(*(part.detach() for part in losses))
        self.sums += torch.stack([kept.total.float(), kept.error.float()])
        if self.fired is None:
            self.fired = torch.zeros_like(kept.fires, dtype=torch.bool)
        self.fired |= kept.fires > 0
        return kept

    def _state(self) -> Iterator[Tensor]:
        """Yield all tensors that a step changes, apart from its results."""
        yield from self.trainee.parameters()
        yield from self.trainee.buffers()
        for averages in self.optimiser.state.values():
            yield from averages.values()
        yield self.sums
        if self.fired is not None:
            yield self.fired

    def _checked_loss(self) -> float:
        """Return the sum of the losses of the epoch's batches so far; this waits for the device."""
        value = float(self.sums[0])
        if not math.isfinite(value):
            raise self._failure(f"the loss is {value}")
        return value

    def _check_parameters(self) -> None:
        # No later loss shows the effect of the last step's gradient.
        if not all(bool(parameter.isfinite().all()) for parameter in self.parameters):
            raise self._failure("a parameter is not finite")

    def _failure(self, what: str) -> UserError:
        settings = ", ".join(f"{key}={value}" for key, value in self.config.model_dump().items())
        return UserError(f"{self.name}: {what} after {self.step} steps; lower learning_rate. Settings: {settings}.")

    @traced("losses to the host, per epoch")
    def _note_epoch(self, last: StepLoss, n_last: int) -> None:
        self._checked_loss()
        loss, error = (self.sums / self.batches.per_epoch).tolist()
        assert self.fired is not None
        fires = last.fires.float()
        dead, silent = (float(units.float().mean()) for units in (fires == 0, ~self.fired))
        self.history.append(EpochMetrics(self.step, loss, error, float(fires.sum()) / n_last, dead, silent))
        self.sums.zero_()
        self.fired.zero_()
        self.on_metrics(self.step, self.history[-1].values())

    def _save_if_due(self) -> None:
        if self.checkpoint is None or not self.checkpoint.due() or self.step == self.total:
            return
        self._checked_loss()
        header = {"identity": self.identity, "step": self.step, "sums": self.sums.tolist(), "history": self.history}
        assert self.fired is not None
        self.checkpoint.save(self.trainee, self.optimiser, header, {"fired": self.fired})

    def _resume(self) -> None:
        if self.checkpoint is None:
            return
        restored = self.checkpoint.restore(self.trainee, self.optimiser, self.identity, ("fired",))
        if restored is not None:
            header, more = restored
            self.fired = more["fired"].to(self.batches.device)
            self.step = int(header["step"])
            self.sums = torch.tensor(header["sums"], device=self.batches.device)
            self.history = [EpochMetrics(*entry) for entry in header["history"]]
            for entry in self.history:
                self.on_metrics(entry.step, entry.values())
