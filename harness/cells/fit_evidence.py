"""Evidence of a fit: gradients computed, parameters changed by them, labels read.

The evidence is observed from outside, so a method cannot omit it: every gradient in PyTorch goes through one autograd
engine, every optimiser through one step hook, and every label through the tokens that ``fit`` is given.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Variable
from torch.optim.optimizer import register_optimizer_step_post_hook

from harness.metrics.base import Score
from methods.base import Tokens

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

    def scores(self) -> list[Score]:
        """Return the evidence as scores of the cell, with all counts in ``details``."""
        gradient = {
            "optimizer_steps": self.optimizer_steps,
            "gradient_passes": self.gradient_passes,
            "changed_leaves": self.changed_leaves,
            "alone": self.alone,
        }
        return [
            Score(GRADIENTS, self.optimizer_steps, 1, unit="steps", direction="none", details=gradient),
            Score(
                LABELS,
                self.label_reads,
                1,
                unit="reads",
                direction="none",
                details={"label_reads": self.label_reads},
            ),
        ]


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

    def stepped(self) -> None:
        with self._lock:
            self.optimizer_steps += 1

    def differentiated(self, outputs: Any) -> None:
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
    watched = Observation(tokens)
    _WATCH.add(watched)
    try:
        yield watched
    finally:
        _WATCH.remove(watched)


class _Watch:
    """Active observations and the hooks that feed them. The hooks are installed only while there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: list[Observation] = []
        self._hook: Any = None
        self._engine: Any = None

    def add(self, observation: Observation) -> None:
        with self._lock:
            if not self._active:
                self._hook = register_optimizer_step_post_hook(self._stepped)
                self._engine = Variable._execution_engine
                Variable._execution_engine = _Engine(self._engine, self._differentiated)  # type: ignore[assignment]
            self._active.append(observation)
            if len(self._active) > 1:
                for active in self._active:
                    active.alone = False

    def remove(self, observation: Observation) -> None:
        with self._lock:
            self._active.remove(observation)
            if not self._active:
                Variable._execution_engine = self._engine
                self._hook.remove()

    def _stepped(self, *_: Any) -> None:
        for active in list(self._active):
            active.stepped()

    def _differentiated(self, outputs: Any) -> None:
        for active in list(self._active):
            active.differentiated(outputs)


class _Engine:
    """Proxy of the autograd engine that reports each run."""

    def __init__(self, engine: Any, noted: Any) -> None:
        self._engine = engine
        self._noted = noted

    def run_backward(self, outputs: Any, *args: Any, **kwargs: Any) -> Any:
        self._noted(outputs)
        return self._engine.run_backward(outputs, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


_WATCH = _Watch()


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
