"""Evidence of a fit: gradients computed, parameters changed by them, labels read.

The evidence is observed from outside, so a method cannot omit it: every gradient in PyTorch goes through one autograd
engine, every optimiser through one step hook, and every label through the tokens that ``fit`` is given. Steps that our
training loop replays as a CUDA graph reach neither; the loop tells their number (:mod:`methods.training.graphs`).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Variable
from torch.optim.optimizer import register_optimizer_step_post_hook

from methods.base import Tokens
from methods.training import graphs
from results import ScoreRecord

#: Number of gradient computations whose leaves are compared: enough to detect changes, at a small cost.
WATCHED = 16

GRADIENTS = "evidence_gradients"
LABELS = "evidence_labels"


class FitEvidence(NamedTuple):
    """Counts observed during one fit."""

    optimizer_steps: int
    """steps of any ``torch.optim`` optimiser"""
    gradient_passes: int
    """runs of the autograd engine (``backward``, ``autograd.grad``, ``torch.func.grad``)"""
    changed_leaves: int
    """leaf tensors of a gradient whose value had changed when the next gradient was computed, or at the end"""
    label_reads: int
    """number of times that ``tokens.label`` was read"""
    alone: bool
    """False if another fit ran in this process at the same time, so that the counts are of both"""

    def records(self) -> tuple[ScoreRecord, ...]:
        """Return the evidence as scores of the cell, with all counts in ``details``."""
        details = self._asdict()
        reads = {"label_reads": details.pop("label_reads")}
        common: dict[str, Any] = {"n": 1, "direction": "none"}
        return (
            ScoreRecord(metric=GRADIENTS, value=self.optimizer_steps, unit="steps", details=details, **common),
            ScoreRecord(metric=LABELS, value=self.label_reads, unit="reads", details=reads, **common),
        )


def summed(evidence: Sequence[ScoreRecord], other: Sequence[ScoreRecord]) -> tuple[ScoreRecord, ...]:
    """Return the evidence of two fits together: counts added, ``alone`` only if both were."""
    by_metric = {record.metric: record for record in other}
    return tuple(_sum(record, by_metric.get(record.metric)) for record in evidence)


def _sum(record: ScoreRecord, other: ScoreRecord | None) -> ScoreRecord:
    if other is None or record.value is None or other.value is None:
        return record
    details, added = dict(record.details or {}), other.details or {}
    for key, value in details.items():
        if key in added:
            details[key] = value and added[key] if isinstance(value, bool) else value + added[key]
    return replace(record, value=record.value + other.value, details=details)


class ObservedTokens:
    """Proxy of a token set that counts reads of its labels and passes everything else on."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self.label_reads = 0

    @property
    def label(self) -> Any:
        self.label_reads += 1
        return self._tokens.label

    def __getattr__(self, name: str) -> Any:
        # Pickling and copying look attributes up before `_tokens` exists.
        if name.startswith("__") or "_tokens" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._tokens, name)


class Observation:
    """Observation of one fit; see :func:`observing`."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens: Any = ObservedTokens(tokens)
        self.optimizer_steps = 0
        self.gradient_passes = 0
        self.alone = True
        self._changed: set[int] = set()
        self._leaves: dict[int, tuple[weakref.ref[Tensor], float]] = {}
        self._lock = threading.RLock()

    def evidence(self) -> FitEvidence:
        """Return the counts so far."""
        with self._lock:
            self._compare()
            return FitEvidence(
                self.optimizer_steps, self.gradient_passes, len(self._changed), self.tokens.label_reads, self.alone
            )

    def count_step(self, *_: Any) -> None:
        """Count an optimiser step; a hook that PyTorch calls."""
        with self._lock:
            self.optimizer_steps += 1

    def count_replays(self, steps: int) -> None:
        """Count steps, each with its gradient, that are replayed on a GPU without PyTorch's optimiser and engine."""
        with self._lock:
            self.optimizer_steps += steps
            self.gradient_passes += steps

    def mark(self) -> tuple[int, int]:
        """Return the counts of steps and gradients so far."""
        with self._lock:
            return self.optimizer_steps, self.gradient_passes

    def rewind(self, mark: tuple[int, int]) -> None:
        """Set the counts back: the steps since then were tried, and are none of the training."""
        with self._lock:
            self.optimizer_steps, self.gradient_passes = mark

    def record_gradient(self, outputs: Any) -> None:
        """Record a gradient computation that is about to start."""
        with self._lock:
            self.gradient_passes += 1
            if self.gradient_passes <= WATCHED:
                self._compare()
                for leaf in _leaves_of(outputs):
                    self._leaves.setdefault(id(leaf), (weakref.ref(leaf), _checksum(leaf)))

    def _compare(self) -> None:
        for key, (reference, before) in list(self._leaves.items()):
            leaf = reference()
            if leaf is None:
                del self._leaves[key]  # its id may be given to another tensor
            elif _checksum(leaf) != before:
                self._changed.add(key)


@contextmanager
def observing(tokens: Tokens) -> Iterator[Observation]:
    """Observe the fit within the context. Pass :attr:`Observation.tokens` to the fit in place of ``tokens``."""
    observation = Observation(tokens)
    hook = register_optimizer_step_post_hook(observation.count_step)
    graphs.OBSERVERS.append(observation)
    _ENGINE.add(observation)
    try:
        yield observation
    finally:
        _ENGINE.remove(observation)
        graphs.OBSERVERS.remove(observation)
        hook.remove()


class _ObservedEngine:
    """Proxy of the autograd engine that reports each run. It is installed only while there are observations."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._observations: list[Observation] = []
        self._engine: Any = None

    def add(self, observation: Observation) -> None:
        with self._lock:
            if not self._observations:
                self._engine = Variable._execution_engine
                Variable._execution_engine = self  # type: ignore[assignment]
            self._observations.append(observation)
            if len(self._observations) > 1:
                for active in self._observations:
                    active.alone = False

    def remove(self, observation: Observation) -> None:
        with self._lock:
            self._observations.remove(observation)
            if not self._observations:
                Variable._execution_engine = self._engine

    def run_backward(self, outputs: Any, *args: Any, **kwargs: Any) -> Any:
        for observation in list(self._observations):
            observation.record_gradient(outputs)
        return self._engine.run_backward(outputs, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


_ENGINE = _ObservedEngine()


def _leaves_of(outputs: Any) -> list[Tensor]:
    """Return the leaf tensors of the autograd graph of ``outputs``."""
    waiting = [node for output in outputs if (node := getattr(output, "grad_fn", None)) is not None]
    seen, leaves = set(waiting), []
    while waiting:
        node = waiting.pop()
        variable = getattr(node, "variable", None)
        if isinstance(variable, Tensor):
            leaves.append(variable)
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)
    return leaves


@torch.no_grad()
def _checksum(leaf: Tensor) -> float:
    values = leaf.detach().double().flatten()
    if values.is_complex() or not len(values):
        return 0.0
    # Not the plain sum: a projection may leave that unchanged.
    return float(values @ torch.linspace(0.5, 1.5, len(values), dtype=values.dtype, device=values.device))
