"""What is observed of a fit: gradients, optimiser steps and labels that are read."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest
import torch
from in_memory import small_layer
from no_kernels import without_kernels
from step_recorder import Recorder
from torch import Tensor

import methods
from harness.cells.fit_evidence import WATCHED, FitEvidence, ObservedTokens, observing
from methods.random_split import RandomSplit
from methods.training import graphs

pytestmark = pytest.mark.run


class TestObserving:
    def evidence(self, learn: Any) -> FitEvidence:
        _, tokens = small_layer()
        with observing(tokens) as watched:
            learn(watched.tokens)
        return watched.evidence()

    def test_nothing_happens(self) -> None:
        assert self.evidence(lambda tokens: tokens.gather("input", [0])) == FitEvidence(0, 0, 0, 0, True)

    def test_every_optimiser_is_counted(self) -> None:
        def learn(tokens: Any) -> None:
            for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
                weight = torch.nn.Parameter(torch.ones(3))
                optimiser = kind([weight], lr=0.1)
                weight.square().sum().backward()
                optimiser.step()

        seen = self.evidence(learn)
        assert (seen.optimizer_steps, seen.gradient_passes) == (3, 3)

    def test_functional_gradients_are_counted(self) -> None:
        seen = self.evidence(lambda tokens: torch.func.grad(lambda x: x.square().sum())(torch.ones(2)))
        assert seen.gradient_passes == 1

    def test_other_threads_are_seen(self) -> None:
        def learn(tokens: Any) -> None:
            thread = threading.Thread(target=lambda: torch.ones(2, requires_grad=True).sum().backward())
            thread.start()
            thread.join()

        assert self.evidence(learn).gradient_passes == 1

    def test_two_fits_at_once_are_told(self) -> None:
        _, tokens = small_layer()
        with observing(tokens) as first, observing(tokens) as second:
            pass
        assert not first.evidence().alone and not second.evidence().alone

    def test_the_engine_is_put_back(self) -> None:
        before = torch.autograd.Variable._execution_engine
        _, tokens = small_layer()
        with pytest.raises(RuntimeError), observing(tokens):
            raise RuntimeError
        assert torch.autograd.Variable._execution_engine is before

    def test_a_gradient_has_the_same_value(self) -> None:
        def gradient() -> Tensor:
            x = torch.arange(4.0, requires_grad=True)
            x.pow(3).sum().backward()
            assert x.grad is not None
            return x.grad

        expected = gradient()
        _, tokens = small_layer()
        with observing(tokens):
            torch.testing.assert_close(gradient(), expected)

    def test_tokens_are_the_same_in_all_else(self) -> None:
        site, tokens = small_layer()
        seen = ObservedTokens(tokens)
        assert seen.n == tokens.n and seen.width("input") == site.d_in and seen.label_reads == 0
        assert copy.copy(seen).n == tokens.n
        assert (seen.label == tokens.label).all() and seen.label_reads == 1
        method = RandomSplit().fit(seen, site)
        torch.testing.assert_close(method.weights, RandomSplit().fit(tokens, site).weights)


class Fails(Recorder):
    def record(self, step: Any) -> Any:
        super().record(step)
        raise RuntimeError("the recording is invalid")


class Differs(Recorder):
    def replay(self) -> None:
        self.replays += 1


def test_replayed_steps_are_counted_like_computed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reading of parameters in the first gradients, which a CUDA graph cannot contain, precedes the recording."""
    site, tokens = small_layer()
    config = {"k": 2, "expansion_factor": 3, "epochs": 16, "batch_size": 60}
    monkeypatch.setattr(graphs, "LEAST_STEPS", 60)
    without_kernels(monkeypatch)
    recorder = Recorder()
    for backend in (None, recorder):
        monkeypatch.setattr(graphs, "backend_for", lambda device, backend=backend: backend)
        with observing(tokens) as watched:
            method = methods.create("topk_sae", **config).fit(watched.tokens, site, seed=1)
        assert not any("replayed" in note for note in method.notes)
        assert watched.evidence() == FitEvidence(64, 64, 3, 0, True)
    # A recording that fails after its step, and a replay that differs: what was tried is not counted.
    for failing in (Fails(), Differs()):
        monkeypatch.setattr(graphs, "backend_for", lambda device, backend=failing: backend)
        with observing(tokens) as watched:
            method = methods.create("topk_sae", **config).fit(watched.tokens, site, seed=1)
        assert sum("replayed" in note for note in method.notes) == 1
        assert watched.evidence() == FitEvidence(64, 64, 3, 0, True)
    assert WATCHED < graphs.WARM_UP_STEPS
    assert recorder.replays == 64 - graphs.WARM_UP_STEPS
    assert graphs.OBSERVERS == []
