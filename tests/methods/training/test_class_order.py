"""Training on tokens in the order of their classes, of which not all fit into one block."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from in_memory import MemorySite, MemoryTokens
from torch import Tensor

import methods
from methods.training import batches as module
from methods.training.batches import Batches

N, WIDTH, CLASSES = 6000, 24, 30


@pytest.fixture(scope="module")
def tokens() -> MemoryTokens:
    """200 tokens of each class, one class after the other: every class has three directions of its own."""
    generator = torch.Generator().manual_seed(1)
    of_class = torch.randn(CLASSES, 3, WIDTH, generator=generator)
    label = torch.arange(CLASSES).repeat_interleave(N // CLASSES)
    amounts = torch.rand(N, 3, generator=generator)
    output = torch.einsum("bk,bkd->bd", amounts, of_class[label])
    output += 0.1 * torch.randn(N, WIDTH, generator=generator)
    return MemoryTokens(torch.zeros(N, 4), output)


def r2(name: str, tokens: MemoryTokens, monkeypatch: pytest.MonkeyPatch, n_blocks: int, *, consecutive: bool) -> float:
    """Train with the tokens in a number of blocks, and return the fraction of variance explained."""

    def made(*arguments: Any, **options: Any) -> Batches:
        return Batches(*arguments, **{**options, "block_bytes": 4 * WIDTH * (N // n_blocks)})

    monkeypatch.setattr("methods.sae.method.Batches", made)
    if consecutive:
        monkeypatch.setattr(module, "blocks_of", lambda tokens, size: np.split(np.arange(N), N // size))
    config = {"expansion_factor": 4, "epochs": 20, "batch_size": 200, "k": 3, "learning_rate": 3e-3}
    site = MemorySite(torch.zeros(WIDTH, 4), torch.zeros(WIDTH))
    method = methods.create(name, **config).fit(tokens, site, seed=1)
    monkeypatch.undo()
    a: Tensor = tokens.gather("output", np.arange(N))
    error = (method.decode(method.encode(a)) - a).square().sum()
    return 1 - float(error / (a - a.mean(0)).square().sum())


@pytest.mark.parametrize("name", ["topk_sae", "batchtopk_sae", "matryoshka_sae"])
def test_ten_blocks_of_sorted_classes_train_as_well_as_one(
    name: str, tokens: MemoryTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = r2(name, tokens, monkeypatch, 1, consecutive=False)
    ten = r2(name, tokens, monkeypatch, 10, consecutive=False)
    # Three classes per block, as before: steps in a row then see the same three.
    sorted_classes = r2(name, tokens, monkeypatch, 10, consecutive=True)
    print(name, whole, ten, sorted_classes)
    assert abs(ten - whole) < 0.005
    assert sorted_classes < whole - 0.02
