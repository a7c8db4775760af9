"""Networks and layers that break down are never measured as good ones."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from in_memory import small_layer
from torch import Tensor

import methods
from harness.activations.heads.base import predictions
from harness.cells.evaluate import evaluate
from harness.errors import UserError
from harness.metrics.accuracy import Accuracy
from harness.metrics.agreement import Agreement
from harness.metrics.base import Batch, Outcome
from harness.metrics.logits_gap import LogitsGap
from harness.metrics.stability import matched_cosine_by_parent

HEAD = SimpleNamespace(targets=lambda labels: labels)
NOTHING: Any = SimpleNamespace(floors={}, floor_outcomes={}, top_images=2, n_images=4, head=HEAD, images=range(4))


def batch(logits: Tensor, clean: Tensor) -> Batch:
    empty = torch.zeros(len(logits), 1, 1)
    zeros = torch.zeros(len(logits), dtype=torch.int64)
    return Batch(torch.arange(len(logits)), zeros, empty, empty, empty, clean, logits, empty[:, 0], zeros[:, None])


def outcome(units: Any = None) -> Outcome:
    method: Any = SimpleNamespace(spec=SimpleNamespace(virtual=False), parents=None)
    return Outcome(method, units, NOTHING, 1)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_network_that_gives_nan_is_right_about_nothing(bad: float) -> None:
    # All images are of class 0, which is what argmax makes of NaN.
    clean = torch.tensor([[2.0, 1.0]] * 4)
    logits = torch.full_like(clean, bad)
    logits[0] = clean[0]
    assert predictions(logits).tolist() == [0, -1, -1, -1]
    accuracy, agreement = Accuracy(NOTHING), Agreement(NOTHING)
    for metric in (accuracy, agreement):
        metric.update(batch(logits, clean))
    assert next(iter(accuracy.compute(outcome()))).value == 0.25
    scores = {score.metric: score.value for score in agreement.compute(outcome())}
    assert scores["agreement"] == 0.25 and math.isnan(scores["kl"])


def test_a_network_that_gives_nan_is_not_lossless() -> None:
    clean = torch.tensor([[2.0, 1.0]] * 4)
    for batches in ([clean, clean * math.nan], [clean * math.nan, clean], [clean, clean * math.inf]):
        metric = LogitsGap(NOTHING)
        for logits in batches:
            metric.update(batch(logits, clean))
        assert math.isnan(next(iter(metric.compute(outcome()))).value)
    metric = LogitsGap(NOTHING)
    metric.update(batch(clean + 0.5, clean))
    metric.update(batch(clean, clean))
    assert next(iter(metric.compute(outcome()))).value == 0.5


def test_atoms_too_small_to_square_are_matched_like_others() -> None:
    atoms = torch.eye(3) * 1e-25
    assert matched_cosine_by_parent(atoms, torch.arange(3), torch.eye(3), torch.arange(3)) == pytest.approx(1)


def test_a_saved_fit_is_as_readable_as_any_other_file(tmp_path: Path) -> None:
    site, tokens = small_layer()
    before = os.umask(0o027)
    try:
        path = methods.create("identity").fit(tokens, site).save(tmp_path / "fit.safetensors")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("virtual", [False, True])
def test_codes_of_nan_are_called_by_their_name(virtual: bool) -> None:
    class OnePass:
        def run(self, tap: Any) -> Iterator[tuple[Tensor, Tensor]]:
            tap(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3))
            yield torch.tensor([0]), torch.zeros(1, 3)

    # NaN is unlike itself, so that this was once "decode changes the codes it is given".
    method: Any = SimpleNamespace(
        n_units=2,
        spec=SimpleNamespace(name="mine", reads="output", virtual=virtual),
        decode_reads_input=False,
        encode=lambda x: torch.full((len(x), 2), math.nan),
        decode=lambda codes: torch.zeros(len(codes), 3),
    )
    images = SimpleNamespace(labels=torch.zeros(1, dtype=torch.int64).numpy())
    stored = [(torch.tensor([0]), torch.zeros(1, 2, 3))]
    baseline: Any = SimpleNamespace(
        top_images=1, images=images, passes=OnePass(), n_images=1, outputs=lambda: iter(stored)
    )
    with pytest.raises(UserError, match="mine encodes NaN or infinity: its fit has failed"):
        evaluate(method, baseline, [])
