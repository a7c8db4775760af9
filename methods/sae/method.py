"""Methods of the sparse codes: fit, fold the normalisation in, encode, decode."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from methods.base import Device, LinearSite, Progress, Reads, Tokens
from methods.half_precision import in_float32
from methods.linear_decoder import LinearDecoder
from methods.pretrained.trained_dictionary import Activation, TrainedConfig, TrainedDictionary
from methods.sae import library
from methods.sae.autoencoder import LinearAutoencoder
from methods.sae.auxk import MOST_TOKENS
from methods.sae.dead_units import dead_units_note
from methods.training import graphs
from methods.training.batches import Batches
from methods.training.checkpoint import Checkpoint
from methods.training.loop import EpochMetrics, Trainee, curves_of, train
from methods.training.normaliser import Normaliser

T = TypeVar("T", bound=Trainee)
A = TypeVar("A", bound=LinearAutoencoder)


class SparseMethod(LinearDecoder, Generic[T]):
    """Base of the trained sparse codes; ``T`` is the module that is trained."""

    #: File in which training is saved as it runs; a run of the same settings, seed and data found there is resumed.
    checkpoint: Checkpoint | None = None

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.history: list[EpochMetrics] = []
        """metrics at the end of each epoch"""

    # ---- what a family implements

    @abstractmethod
    def trainee(self, n_units: int, tokens: Tokens, normaliser: Normaliser, seed: int) -> T:
        """Return the module to train, on the CPU; ``normaliser`` is that of its input."""

    @abstractmethod
    def fold(self, trainee: T, reads: Normaliser, writes: Normaliser) -> None:
        """Store the trained parameters, with both normalisations folded in."""

    def prepare(self, trainee: T, batches: Batches) -> None:
        """Adapt the initial parameters to the tokens."""

    # ---- what follows from these

    @classmethod
    def least_memory(cls, config: Any, d_in: int, d_out: int) -> int:
        """Return the bytes of the atoms, their gradient, and the two averages that Adam keeps of it, in float32."""
        return 4 * 4 * int(config.n_units(d_out)) * d_out

    def learn(self, tokens: Tokens, site: LinearSite, seed: int, device: Device, progress: Progress) -> None:
        # The encoder's input first, the target last.
        fields: tuple[Reads, ...] = ("output",) if self.spec.reads == "output" else ("input", "output")
        normalisers = [Normaliser(tokens, field) for field in fields]
        n_units = self.config.n_units(site.d_out)
        replayed = graphs.backend_for(torch.device(device)) is not None
        widths = [tokens.width(field) for field in fields]
        reserve = training_bytes(n_units, widths, self.config.batch_size, replayed=replayed)
        batches = Batches(
            tokens, fields, normalisers, self.config.batch_size, seed=seed, device=device, reserve=reserve
        )

        def trained() -> T:
            return self._train(self.trainee(n_units, tokens, normalisers[0], seed).to(device), batches, progress)

        trainee: T | None = None
        try:
            trainee = trained()
        except (MemoryError, RuntimeError) as error:
            if not batches.give_way(error):
                raise
        # Not where the error is handled: it holds the tensors of the failed step.
        if trainee is None:
            trainee = trained()
        self.fold(trainee, normalisers[0], normalisers[-1])
        silent = self.history[-1].silent if self.history else None
        fixed = isinstance(trainee, LinearAutoencoder) and not trainee.weight.requires_grad
        if note := dead_units_note(silent, self.n_units, self.config, encoder_is_fixed=fixed):
            self.notes.append(note)
        self.notes += batches.notes

    def _train(self, trainee: T, batches: Batches, progress: Progress) -> T:
        """Train a module from its initial parameters, or from those of a checkpoint, and return it."""
        self.prepare(trainee, batches)
        checkpoint = self.checkpoint
        if checkpoint is None and self.work_dir is not None:
            checkpoint = Checkpoint(self.work_dir / "training.safetensors")
        self.history = train(
            trainee,
            batches,
            self.config,
            name=self.spec.name,
            progress=progress,
            checkpoint=checkpoint,
            on_metrics=self.on_metrics,
            on_note=self._note_once,
        )
        trainee.settle(batches)
        return trainee

    def _note_once(self, note: str) -> None:
        # A training that gave the tokens way starts again.
        if note not in self.notes:
            self.notes.append(note)

    def extra_state(self) -> dict[str, Any]:
        return {"history": self.history}

    @property
    def curves(self) -> dict[str, list[tuple[int, float]]]:
        return curves_of(self.history)

    def restore_extra(self, extra: dict[str, Any]) -> None:
        self.history = [EpochMetrics(*entry) for entry in extra.get("history", [])]


#: Matrices (batch_size, n_units) of float32 that a step is assumed to hold at once: pre-codes, codes, their gradients,
#: masks, and what the dead-unit term needs.
STEP_MATRICES = 12


def training_bytes(n_units: int, widths: Sequence[int], batch_size: int, *, replayed: bool = False) -> int:
    """Return the bytes that training takes beside the tokens, as an estimate.

    Args:
        widths: of the encoder's input and the target.
        replayed: True if steps are replayed as a CUDA graph. It has memory of its own, beside that of computed steps,
            and its comparison with a computed step takes two copies of the parameters and of Adam's averages.
    """
    # Float32 parameters of encoder and atoms, their gradient, and the two averages of Adam.
    parameters = 4 * n_units * (widths[0] + widths[-1])
    step = 4 * STEP_MATRICES * batch_size * (n_units + sum(widths))
    return 10 * parameters + 2 * step if replayed else 4 * parameters + step


class ActivationForm(NamedTuple):
    """Activation of a fit in the terms of a :class:`TrainedDictionary`."""

    name: Activation = "relu"
    k: int | None = None
    tensors: Mapping[str, Tensor] = MappingProxyType({})
    """attributes of the dictionary that the activation needs"""


class LinearSAE(SparseMethod[A]):
    """Base of the sparse autoencoders whose encoder is linear.

    With x (n, d_in) what the method reads, unnormalised, a fitted method computes::

        codes  = activate(x @ encoder_weight.T + encoder_bias)    (n, n_units)
        output = codes @ atoms + output_bias                      (n, d_out)

    Centring and scale of the probing tokens are folded into the fitted tensors, so atoms and reconstructions are in the
    layer's space. Pre-codes and codes are those of training: they keep the units of normalised space.

    A family names its settings (``Config``) and returns its module from ``trainee``. If its activation has parameters,
    it stores them in ``keep``, names them in ``fitted`` and applies them in ``activate``.
    """

    fitted: ClassVar[tuple[str, ...]] = ("encoder_weight", "encoder_bias", "atoms", "output_bias")

    encoder_weight: Tensor
    """(n_units, d_in)"""
    encoder_bias: Tensor
    """(n_units,)"""

    # ---- what a family implements

    def activate(self, pre: Tensor) -> Tensor:
        """Return codes (n, n_units) of pre-codes (n, n_units), row by row."""
        return torch.relu(pre)

    def activation_form(self) -> ActivationForm:
        """Return :meth:`activate` in the terms of a trained dictionary."""
        return ActivationForm()

    def keep(self, trainee: A) -> None:
        """Store what a family has fitted in addition to encoder and atoms."""

    # ---- what follows from these

    def start(self, n_units: int, tokens: Tokens, seed: int) -> library.Start:
        """Return the initial weights; an encoder of the layer's input starts as drawn."""
        reads = self.spec.reads
        encoder: library.EncoderStart = self.config.encoder_start if reads == "output" else "library"
        return library.start(tokens.width(reads), tokens.width("output"), n_units, seed=seed, encoder=encoder)

    def prepare(self, trainee: A, batches: Batches) -> None:
        trainee.schedule(0, batches.per_epoch * self.config.epochs)
        if trainee.auxk is not None and self.config.auxk_tokens is None:
            trainee.auxk.dead_after = min(batches.n, MOST_TOKENS)
        seen = batches.n * self.config.epochs
        if trainee.auxk is not None and trainee.auxk.dead_after >= seen:
            self._note_once(
                f"auxk acts in the last step at most: a unit counts as dead after {trainee.auxk.dead_after} tokens "
                f"without firing, and the training has {seen}. Set a smaller auxk_tokens, or more epochs."
            )
        if self.config.encoder_start == "dictionary":
            trainee.fit_gain(*next(batches.epoch(0)))

    @torch.no_grad()
    def fold(self, trainee: A, reads: Normaliser, writes: Normaliser) -> None:
        weight = trainee.weight.detach() / reads.scale
        self.encoder_weight = weight.clone()
        self.encoder_bias = trainee.effective_bias().detach() - weight @ reads.mean.to(weight)
        self.atoms = trainee.atoms().detach() * writes.scale
        self.output_bias = writes.mean.to(weight) + trainee.learned_output_bias() * writes.scale
        self.keep(trainee)

    @property
    def input_width(self) -> int | None:
        return self.size_of("encoder_weight", 1)

    @in_float32
    def encode(self, x: Tensor) -> Tensor:
        self.require_fitted()
        return self.activate(functional.linear(x, self.encoder_weight.to(x), self.encoder_bias.to(x)))

    def as_trained_dictionary(self) -> TrainedDictionary:
        self.require_fitted()
        form = self.activation_form()
        tensors = {name: getattr(self, name) for name in LinearSAE.fitted}
        config = TrainedConfig(activation=form.name, k=form.k, reads=self.spec.reads)
        return TrainedDictionary.of(config, {**tensors, **form.tensors})
